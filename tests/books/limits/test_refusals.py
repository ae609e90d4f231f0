"""Which limit refuses, and the moment at which the next try succeeds: to the microsecond."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.books import create_holder
from tests.support.limits import caller_of, limit_account, limit_key
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.limits import Limits, Refusal, refusal_of
from tokenbalance.database import statements
from tokenbalance.model import Claim, LimitState, Purpose
from tokenbalance.model.limits import MINUTE, OPEN

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.database.connections.pool import Borrowed
    from tokenbalance.model import Caller

RUNS: Final = 1000
A_MOMENT: Final = timedelta(microseconds=1)
NOW: Final = datetime(2026, 12, 1, 12, tzinfo=UTC)
OF_KEY: Final = {
    "requests_per_minute": 7,
    "tokens_per_minute": 700,
    "tokens_per_day": 1000,
    "credits_per_week": 1000,
}
OF_ACCOUNT: Final = {"requests_per_minute": 11, "credits_per_day": 1000}

SET: Final = """
UPDATE limits l
   SET amount = v.amount, used = CASE period WHEN 'minute' THEN 0 ELSE v.used END,
       taken_until = now() + v.more * interval '1 microsecond',
       window_start = CASE period WHEN 'minute' THEN '-infinity'
                      ELSE now() - interval '1 hour' END,
       window_end = CASE period WHEN 'minute' THEN 'infinity'
                    ELSE now() + v.more * interval '1 microsecond' END
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) v (id, amount, used, more)
 WHERE l.id = v.id
"""
PASS: Final = """
UPDATE limits SET taken_until = taken_until - $1::interval, window_end = window_end - $1::interval,
                  window_start = window_start - $1::interval
"""
"""As if so much time had passed: the clock of a transaction stands still."""


@dataclass
class Run:
    """One transaction, whose clock stands still."""

    session: Borrowed
    caller: Caller
    credits: int
    tokens: int

    async def states(self) -> tuple[LimitState, ...]:
        policy = self.caller.policy
        assert policy is not None
        limits = Limits(self.session)  # pyright: ignore[reportArgumentType] - it has the same methods
        return await limits.states(self.caller.account_id, policy.subjects)

    async def refusal(self) -> Refusal | None:
        return refusal_of(await self.states(), self.credits, self.tokens)

    async def fits(self) -> bool:
        """Try to place the hold, and take it back."""
        policy = self.caller.policy
        assert policy is not None
        arguments: list[Any] = [self.caller.account_id, "a", self.caller.key_id, self.credits, 1]
        arguments += ["/x", None, 0, 60.0, None, 0, None, self.caller.secret_sha256]
        attempt = self.session.transaction()
        await attempt.start()
        row = await self.session.fetchrow(
            statements.PLACE_LIMITED, *arguments, policy.version, self.tokens, policy.subjects
        )
        await attempt.rollback()
        assert row is not None
        return row[0] is not None

    async def fits_after(self, passed: timedelta) -> bool:
        """Try once so much time has passed; windows that have begun by then are entered."""
        later = self.session.transaction()
        await later.start()
        _ = await self.session.execute(PASS, passed)
        _ = await self.states()
        fits = await self.fits()
        await later.rollback()
        return fits


async def test_the_moment_that_is_told_is_exact_in_a_thousand_random_runs(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1_000_000)
    await limit_account(sessions, holder, **OF_ACCOUNT)
    await limit_key(sessions, holder, **OF_KEY)
    caller = await caller_of(pool, holder)
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM limits ORDER BY id")]
    chance = random.Random(17)  # noqa: S311 - the same runs every time
    told: set[str] = set()
    async with pool.acquire() as session:
        for _ in range(RUNS):
            run = Run(session, caller, chance.randint(1, 300), chance.randint(0, 300))
            clock = session.transaction()
            await clock.start()
            _ = await session.execute(SET, ids, *random_states(chance, len(ids)))
            told.add(await expect_exact(run))
            await clock.rollback()
    # Each of them was the tightest at some time.
    assert {*OF_KEY, *OF_ACCOUNT, "never", "now"} <= told


def random_states(chance: random.Random, number: int) -> list[list[int]]:
    """Amounts, what is used, and microseconds until a bucket is full or a window ends."""
    return [
        [chance.choice((1, 7, 60, 333, 1000, 100_000)) for _ in range(number)],
        [chance.choice((0, 0, 5, 900, 1000)) for _ in range(number)],
        [chance.choice((1, 999_999, 30_000_000, 60_000_000, 61_234_567)) for _ in range(number)],
    ]


async def expect_exact(run: Run) -> str:
    """Compare what is told with what happens; gives the name of the limit that refused."""
    refusal = await run.refusal()
    assert await run.fits() == (refusal is None)
    if refusal is None:
        return "now"
    if refusal.fits_at is None:
        assert refusal.is_too_large
        return "never"
    passed = refusal.fits_at - refusal.limit.at
    assert passed > timedelta()
    assert not await run.fits_after(passed - A_MOMENT)
    assert await run.fits_after(passed)
    return refusal.limit.name


def state(name: str, period: str = MINUTE, **changes: Any) -> LimitState:
    whole = LimitState(
        "key:1", name, "tokens", period, 1000, 0, 0, None if period == OPEN else NOW, NOW
    )
    return replace(whole, **changes)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


FULL: Final = state("full", "day", used=1000, resets_at=later(3600))
BUSY: Final = state("busy", "day", reserved=1000, resets_at=later(9000))
SLOW: Final = state("slow", resets_at=later(60))
SMALL: Final = state("small", "day", amount=9)
SPENT: Final = state("spent", "ever", used=1000, resets_at=None)
FREE: Final = state("free")


@pytest.mark.parametrize(
    ("states", "name", "fits_at", "is_held"),
    [
        ([FREE], None, None, False),
        ([FREE, FULL], "full", later(3600), False),
        # 10 of 1000 tokens a minute are regained in 0.6 s.
        ([SLOW], "slow", later(0.6), False),
        ([SLOW, FULL], "full", later(3600), False),
        ([FULL, SLOW], "full", later(3600), False),
        # Waiting is of no use where another one has to be waited for anyway.
        ([BUSY, SLOW], "slow", later(0.6), False),
        ([BUSY, FREE], "busy", later(9000), True),
        ([FULL, SPENT, BUSY], "spent", None, False),
        ([FULL, SMALL], "small", None, False),
        # Of equals it is the first.
        ([replace(FULL, name="first"), FULL], "first", later(3600), False),
    ],
)
def test_the_tightest_of_several_limits_is_told(
    states: list[LimitState], name: str | None, fits_at: datetime | None, *, is_held: bool
) -> None:
    refusal = refusal_of(states, 10, 10)
    if name is None:
        assert refusal is None
        return
    assert refusal is not None
    assert (refusal.limit.name, refusal.fits_at, refusal.is_held) == (name, fits_at, is_held)


def test_what_takes_nothing_is_never_refused() -> None:
    assert refusal_of([FULL, SMALL, SPENT], 10, 0) is None


@pytest.fixture
async def holder(pool: Pool, sessions: Sessions) -> Holder:
    holder = await create_holder(pool, 1000)
    await limit_key(sessions, holder, credits_per_day=100, tokens_per_day=500)
    return holder


async def test_the_next_window_is_entered_by_the_first_hold_in_it(
    pool: Pool, holder: Holder
) -> None:
    book, caller = Book(pool), await caller_of(pool, holder)
    claim = Claim(60, 60, tokens=60)
    before = await book.place(caller, Purpose("a", "/x", None), claim)
    assert before is not None
    assert await book.place(caller, Purpose("b", "/x", None), claim) is None
    # Three days pass, in which nobody asks.
    await pool.execute(
        "UPDATE limits SET window_start = window_start - interval '3 days',"
        " window_end = window_end - interval '3 days'"
    )
    await pool.execute("UPDATE open_holds SET created_at = created_at - interval '3 days'")
    assert await book.place(caller, Purpose("c", "/x", None), claim) is not None
    # What was placed before it is not counted in it.
    assert await book.place(caller, Purpose("d", "/x", None), Claim(41, 41, tokens=1)) is None
    await book.void(before)
    states = await book.limits_of(caller)
    assert [(state.name, state.used, state.reserved) for state in states] == [
        ("tokens_per_day", 0, 60),
        ("credits_per_day", 0, 60),
    ]
    assert {state.resets_at for state in states} == {end_of_day(states[0].at)}
    # A window in another time zone begins when the one that is counted has ended.
    await pool.execute("UPDATE accounts SET time_zone = 'Pacific/Kiritimati'")
    later = await book.limits_of(caller)
    assert {state.resets_at for state in later} == {end_of_day(states[0].at)}


def end_of_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
