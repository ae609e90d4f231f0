from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.books import create_holder, placed
from tests.support.days import midnight
from tests.support.product import serving
from tests.support.usage import Used, request_id_of, summed_by_report, summed_directly, use, void
from tokenbalance import app
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.reports import EVER, Group, Period, UsageQuery, ids, overview, rollup
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.model import Hold, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
GROUPINGS = [frozenset(groups) for number in range(5) for groups in combinations(Group, number)]
PATIENCE_S = 20.0
PERIODS = [
    EVER,
    Period(TODAY - timedelta(days=2)),
    Period(TODAY - timedelta(days=2, hours=5), TODAY - timedelta(days=1)),
    Period(None, TODAY - timedelta(hours=3)),
    Period(TODAY - timedelta(hours=20), TODAY - timedelta(hours=4)),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("settle"), st.integers(0, 1), st.sampled_from(["a", "b", None])),
        st.tuples(st.just("expire"), st.integers(0, 1), st.just("a")),
        st.tuples(st.just("correct"), st.integers(0, 5), st.none()),
        st.tuples(st.just("late"), st.integers(1, 90), st.sampled_from(["a", "b", None])),
        st.tuples(st.just("sum up"), st.just(0), st.none()),
    ),
    min_size=4,
    max_size=10,
)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let usage be summed up as soon as it is written."""
    monkeypatch.setattr(rollup, "LATE", timedelta(0))
    monkeypatch.setattr(rollup, "_STEP_MIN", timedelta(0))


@pytest.fixture
def in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows be written long after their time: ids say nothing of it here."""
    monkeypatch.setattr(ids, "_OUT_OF_ORDER", timedelta(days=30))


async def changed_days(pool: Pool) -> int:
    return await pool.fetchval("SELECT count(DISTINCT day) FROM usage_changes")


async def summed_until(pool: Pool) -> datetime:
    return await pool.fetchval("SELECT until FROM usage_summed")


class Steps:
    """What happens to books, one thing after the other."""

    def __init__(self, pool: Pool, sessions: Sessions, holders: list[Holder]) -> None:
        self.pool = pool
        self.holders = holders
        self.book = Book(pool)
        self.roll_up = RollUp(sessions)
        self.expired: list[tuple[Holder, str]] = []
        self.number = 0

    async def take(self, step: tuple[str, int, str | None]) -> None:
        match step:
            case "settle", who, model:
                used = Used(tokens=7, model=model, more={"reasoning": 2 + who}, estimated=who > 0)
                await use(self.pool, self.holders[who], used)
            case "late", hours, model:
                at = datetime.now(UTC) - timedelta(hours=hours)
                await use(self.pool, self.holders[hours % 2], Used(tokens=3, model=model, at=at))
            case "expire", who, _:
                request_id = request_id_of(datetime.now(UTC))
                hold = await placed(self.book, self.holders[who], request_id, 50)
                usage = Usage({"input": 20}, total=20, estimated=True)
                assert await self.book.expire(hold, usage, orphaned=True)
                self.expired.append((self.holders[who], request_id))
            case "correct", which, _ if which < len(self.expired):
                holder, request_id = self.expired[which]
                hold = Hold(request_id, holder.account_id, 50)
                await self.book.correct(hold, Usage({"input": 20, "output": 40}, total=60))
            case "sum up", _, _:
                _ = await self.roll_up.step()
            case _:
                pass


@pytest.mark.usefixtures("at_once", "in_any_order")
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
async def test_grouped_usage_is_that_of_the_records_however_it_is_summed_up(
    pool: Pool, sessions: Sessions, steps: list[tuple[str, int, str | None]]
) -> None:
    holders = [await create_holder(pool, 10_000), await create_holder(pool, 10_000)]
    happening = Steps(pool, sessions, holders)
    for number, step in enumerate(steps):
        await happening.take(step)
        account = (None, holders[0].account_id)[number % 2]
        for groups in GROUPINGS[number % 5 :: 5]:
            query = UsageQuery(account, groups, PERIODS[number % len(PERIODS)])
            found = await summed_by_report(sessions, query, 1000)
            assert found == await summed_directly(pool, query), (step, query)


@pytest.mark.usefixtures("in_any_order")
async def test_pages_of_groups_follow_each_other_without_gap_or_repetition(
    pool: Pool, sessions: Sessions
) -> None:
    holders = [await create_holder(pool) for _ in range(3)]
    for number in range(24):
        at = NOW - timedelta(hours=number * 5)
        model = ("a", "b", None)[number % 3]
        await use(pool, holders[number % 2], Used(tokens=number + 1, model=model, at=at))
    await RollUp(sessions).catch_up()
    for groups in GROUPINGS:
        for account in (None, holders[0].account_id):
            query = UsageQuery(account, groups)
            found = await summed_by_report(sessions, query, 2)
            assert found == await summed_directly(pool, query), query
            assert list(found) == list(await summed_by_report(sessions, query, 1000))


async def test_days_long_past_are_summed_once_and_recent_usage_is_left(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    await use(pool, holder, Used(at=TODAY - timedelta(days=3)))
    await use(pool, holder, Used())
    await RollUp(sessions).catch_up()

    until = await summed_until(pool)
    assert timedelta(0) < datetime.now(UTC) - until - rollup.LATE < timedelta(minutes=1)
    assert await changed_days(pool) == 0
    assert await pool.fetchval("SELECT sum(requests) FROM usage_days") == 1
    await RollUp(sessions).catch_up()
    assert await pool.fetchval("SELECT sum(requests) FROM usage_totals") == 1


async def test_what_was_written_late_is_read_at_once_and_summed_anew(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1000)
    long_ago = TODAY - timedelta(days=3)
    await use(pool, holder, Used(tokens=5, at=long_ago))
    await RollUp(sessions).catch_up()
    await use(pool, holder, Used(tokens=4, at=long_ago, more={"cached_input": 3}))

    query = UsageQuery(None, frozenset([Group.MODEL]))
    assert await changed_days(pool) == 1
    assert (await summed_by_report(sessions, query))["gpt-4o-mini",].charge == 9
    assert await pool.fetchval("SELECT sum(charge) FROM usage_days") == 5
    await RollUp(sessions).catch_up()
    assert await changed_days(pool) == 0
    assert await pool.fetchval("SELECT sum(charge) FROM usage_days") == 9
    kinds = await pool.fetch("SELECT kind, quantity FROM usage_day_kinds ORDER BY kind")
    assert [tuple(row) for row in kinds] == [("cached_input", 3), ("input", 9)]
    summed = await summed_by_report(sessions, query)
    assert summed["gpt-4o-mini",].quantities == {"cached_input": 3, "input": 9}


@pytest.mark.usefixtures("at_once")
async def test_a_correction_is_of_its_own_day_and_changes_no_sum(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, request_id_of(NOW), 50)
    known = Usage({"input": 20, "reasoning": 5}, 60, estimated=True)
    assert await Book(pool).expire(hold, known, orphaned=True)
    _ = await RollUp(sessions).step()
    await Book(pool).correct(hold, Usage({"input": 20, "output": 40, "a kind": 1}, 45))

    query = UsageQuery(holder.account_id, frozenset([Group.DAY]))
    for _ in range(2):
        (sums,) = (await summed_by_report(sessions, query)).values()
        assert (sums.requests, sums.total, sums.charge, sums.estimated) == (1, 45, 45, 0)
        assert (sums.overrun, sums.overruns) == (0, 0)
        assert sums.quantities == {"input": 20, "output": 40, "a kind": 1}
        assert await changed_days(pool) == 0
        _ = await RollUp(sessions).step()
    assert await pool.fetchval("SELECT sum(overruns) FROM usage_totals") == 0


async def test_an_ordinary_charge_marks_no_day(pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, "tb_1", 100)
    assert await Book(pool).settle(hold, Usage(total=7))
    assert await changed_days(pool) == 0


@pytest.mark.usefixtures("at_once")
async def test_what_is_still_being_written_is_waited_for(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, "tb_1", 100)
    async with pool.acquire() as connection:
        writing = connection.transaction()
        await writing.start()
        await connection.execute(
            "UPDATE open_holds SET known_output = 1 WHERE request_id = $1", hold.request_id
        )
        began = await connection.fetchval("SELECT now()")
        _ = await RollUp(sessions).step()
        assert await summed_until(pool) <= began
        await writing.commit()
    _ = await RollUp(sessions).step()
    assert await summed_until(pool) > began


@pytest.mark.usefixtures("at_once")
async def test_the_sums_do_not_wait_for_requests_in_progress(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, request_id_of(datetime.now(UTC)), 100)
    _ = await RollUp(sessions).step()
    assert await summed_until(pool) > await pool.fetchval("SELECT created_at FROM open_holds")
    await Book(pool).void(hold)
    _ = await RollUp(sessions).step()
    assert await pool.fetchval("SELECT sum(voided) FROM usage_totals") == 1


async def test_of_two_that_sum_up_one_leaves_it_to_the_other(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    await use(pool, holder, Used(at=TODAY - timedelta(days=2)))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM usage_summed FOR UPDATE")
        assert not await RollUp(sessions).step()
    others = [RollUp(sessions) for _ in range(4)]
    await asyncio.gather(*(other.catch_up() for other in others))
    await others[0].catch_up()
    assert await pool.fetchval("SELECT sum(requests) FROM usage_days") == 1


async def test_an_error_is_logged_and_summing_up_goes_on(
    pool: Pool, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    await use(pool, await create_holder(pool), Used(at=TODAY - timedelta(days=2)))
    await pool.execute("ALTER TABLE usage_days RENAME TO elsewhere")
    running = asyncio.create_task(RollUp(sessions, 0.01).run())
    async with asyncio.timeout(PATIENCE_S):
        while not caplog.records:
            await asyncio.sleep(0.01)
        await pool.execute("ALTER TABLE elsewhere RENAME TO usage_days")
        while not await pool.fetchval("SELECT sum(requests) FROM usage_days"):
            await asyncio.sleep(0.01)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert "cannot sum up usage now" in caplog.text


async def test_a_server_sums_up_as_soon_as_it_has_started(
    dsn: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "RollUp", RollUp)
    await use(pool, await create_holder(pool), Used(at=TODAY - timedelta(days=2)))
    async with serving(dsn, None), asyncio.timeout(PATIENCE_S):
        while not await pool.fetchval("SELECT sum(requests) FROM usage_days"):
            await asyncio.sleep(0.01)


async def test_the_overview_counts_what_is_summed_and_what_is_not(
    pool: Pool, sessions: Sessions
) -> None:
    one, other = await create_holder(pool, 1000), await create_holder(pool, 500)
    yesterday = midnight() - timedelta(hours=5)
    for holder, tokens in ((one, 30), (other, 70)):
        await use(pool, holder, Used(tokens=tokens, at=yesterday))
    await void(pool, one, yesterday)
    await use(pool, one, Used(tokens=50))
    await void(pool, one, datetime.now(UTC))
    hold = await placed(Book(pool), other, "tb_open", 40)
    # As far as it can go, past what is of yesterday.
    for _ in range(3):
        await RollUp(sessions).catch_up()
        async with sessions.begin() as session:
            seen = await overview(session, 3)
        assert [day.sums.total for day in seen.days] in ([0, 100, 50], [0, 150, 0])
        assert (seen.sums.requests, seen.sums.charge, seen.voided) == (3, 150, 2)
        assert [(user.user_id, user.sums.charge) for user in seen.top_users] == [
            (one.user_id, 80),
            (other.user_id, 70),
        ]
        assert [(top.model, top.sums.requests) for top in seen.top_models] == [("gpt-4o-mini", 3)]
        assert (seen.balance, seen.held, seen.accounts, seen.users) == (1500, hold.amount, 2, 2)
        assert (seen.open_holds, seen.open_credits) == (1, 40)
        assert seen.oldest_open is not None
