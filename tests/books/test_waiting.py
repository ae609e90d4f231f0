"""Waiting for a hold: whose turn it is, what wakes, and what is left of those who leave.

A process is here what it is to the books: a pool, a book and the waiters of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.support.books import account_of, create_holder, end_leases, hold_states, place, placed
from tokenbalance.books.holds import waiting
from tokenbalance.books.holds.waiting import Waiters
from tokenbalance.books.ledger import credits as credit
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book, Funds
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE, open_pool
from tokenbalance.model import Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

PATIENCE_S = 10.0
ACROSS_PROCESSES_S = 1.0
"""A generous bound; what is promised is 250 ms."""

_numbers = count(1)


def purpose(request_id: str) -> Purpose:
    return Purpose(request_id, "/chat/completions", "gpt-4o-mini")


@dataclass
class Process:
    """What a process has to do with waiting."""

    pool: Pool
    book: Book
    waiters: Waiters
    turns: list[str] = field(default_factory=list)
    """Who got a hold here, in that order."""

    async def wait(
        self, holder: Holder, request_id: str, wanted: int, minimum: int = 0, wait_s: float = 30
    ) -> Hold | None:
        """Wait for a hold as an admitted request does; without a minimum all of it is needed."""
        claim = Claim(wanted, minimum or wanted)

        async def attempt(position: int) -> Hold | None:
            return await self.book.place(
                holder.caller, purpose(request_id), claim, position=position
            )

        hold = await self.waiters.place(holder.account_id, claim, attempt, wait_s)
        if hold is not None:
            self.turns.append(request_id)
        return hold

    async def begin(
        self, holder: Holder, request_id: str, wanted: int, minimum: int = 0, wait_s: float = 30
    ) -> asyncio.Task[Hold | None]:
        """Begin to wait; returns when the request stands in line and has tried in vain."""
        before = set(self.line(holder))
        waiting = asyncio.create_task(self.wait(holder, request_id, wanted, minimum, wait_s))
        async with asyncio.timeout(PATIENCE_S):
            while before.issuperset(line := self.line(holder)) or line[0].woken.is_set():
                await asyncio.sleep(0.001)
        return waiting

    def line(self, holder: Holder) -> list[Any]:
        """Those who wait here for credits of the account."""
        return self.waiters._by_account.get(holder.account_id, [])


async def standing(pool: Pool) -> int:
    """How many rows of waiters there are, of whichever process."""
    return int(await pool.fetchval("SELECT count(*) FROM waiters"))


async def until(look: Callable[[], Awaitable[object]], expected: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await look() != expected:
            await asyncio.sleep(0.002)


async def nobody_stands(pool: Pool) -> None:
    await until(lambda: standing(pool), 0)


@asynccontextmanager
async def process(dsn: str, size: int = 10) -> AsyncGenerator[Process]:
    async with open_pool(dsn, size) as pool:
        book = Book(pool)
        waiters = Waiters(pool, book)
        try:
            yield Process(pool, book, waiters)
        finally:
            await waiters.close()


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Process]:
    async with process(dsn) as here:
        yield here
        assert (await audit(here.pool)).violations == []


@pytest.fixture
async def there(dsn: str) -> AsyncIterator[Process]:
    async with process(dsn) as there:
        yield there


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks into the books, so that a wake within the process is what wakes."""

    async def look(_waiters: Waiters) -> None:
        """See nothing."""

    monkeypatch.setattr(Waiters, "_wake_promising", look)


async def settle(book: Book, hold: Hold, total: int = 0) -> None:
    _ = await book.settle(hold, Usage(input=total, total=total))


async def void(book: Book, hold: Hold) -> None:
    await book.void(hold)


async def expire(book: Book, hold: Hold) -> None:
    assert await book.expire(hold, Usage(estimated=True), orphaned=True)


# Turns.


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("end", [settle, void, expire])
async def test_a_request_gets_its_hold_as_soon_as_one_ends_in_its_process(
    here: Process, holder: Holder, end: Callable[[Book, Hold], Awaitable[None]]
) -> None:
    hold = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 50)
    await end(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting == Hold("b", holder.account_id, 50)
    await nobody_stands(here.pool)


@pytest.mark.usefixtures("blind")
async def test_a_request_gets_its_hold_as_soon_as_one_gets_a_tombstone(
    here: Process, holder: Holder
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 50)
    await here.book.leave_tombstone(holder.caller, purpose("a"))
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


async def test_what_fits_by_now_does_not_wait(here: Process, holder: Holder) -> None:
    assert await here.wait(holder, "a", 100, wait_s=0.0) is not None
    await nobody_stands(here.pool)


async def test_who_waits_is_capped_by_the_balance_and_not_by_what_is_held(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 500, minimum=10)
    await settle(here.book, hold, 30)
    assert await waiting == Hold("b", holder.account_id, 70)


@pytest.mark.usefixtures("blind")
async def test_those_who_wait_in_one_process_are_served_in_the_order_in_which_they_came(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = [await here.begin(holder, name, 100) for name in "bcdef"]
    for task in waiting:
        await void(here.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            next_hold = await task
        assert next_hold is not None
        hold = next_hold
    assert here.turns == ["b", "c", "d", "e", "f"]


async def test_those_who_wait_in_two_processes_are_served_in_the_order_in_which_they_came(
    here: Process, there: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = [
        await process.begin(holder, f"r{number}", 100)
        for number, process in enumerate([there, here, here, there, there, here])
    ]
    for number, task in enumerate(waiting):
        # The credits are given back in the process whose own waiter came later, or first.
        await void(here.book if number % 2 else there.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            done, _ = await asyncio.wait(waiting[number:], return_when=asyncio.FIRST_COMPLETED)
        assert done == {task}
        next_hold = task.result()
        assert next_hold is not None
        hold = next_hold


@pytest.mark.usefixtures("blind")
async def test_a_release_here_leaves_the_turn_to_the_earlier_one_there(
    here: Process, there: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    earlier = await there.begin(holder, "b", 100)
    later = await here.begin(holder, "c", 100, wait_s=0.3)
    await void(here.book, hold)
    # Woken at once, and again when its time is up; its turn it never is.
    assert await later is None
    assert not earlier.done()
    there.waiters._wake(holder.account_id)
    assert await earlier is not None


@pytest.mark.usefixtures("blind")
async def test_a_small_request_waits_behind_a_large_one(here: Process, holder: Holder) -> None:
    first, second = (
        await placed(here.book, holder, "a", 40),
        await placed(here.book, holder, "b", 40),
    )
    large = await here.begin(holder, "large", 90)
    small = await here.begin(holder, "small", 10)
    # It would fit, and so would whoever comes now; but 90 credits are waited for.
    assert await place(here.book, holder, "new", 10, 10) is None
    await void(here.book, first)
    async with asyncio.timeout(PATIENCE_S):
        while here.line(holder)[0].woken.is_set():
            await asyncio.sleep(0.001)
    assert not large.done()
    assert not small.done()
    await void(here.book, second)
    await asyncio.gather(large, small)
    assert here.turns == ["large", "small"]


@pytest.mark.usefixtures("blind")
async def test_one_release_serves_everybody_for_whom_it_is_enough(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = [await here.begin(holder, f"r{number}", 9) for number in range(12)]
    await void(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*waiting[:11])
    assert here.turns == [f"r{number}" for number in range(11)]
    assert not waiting[11].done()
    waiting[11].cancel()
    await nobody_stands(here.pool)


@pytest.mark.usefixtures("blind")
async def test_accounts_do_not_wait_for_each_other(here: Process, holder: Holder) -> None:
    other = await create_holder(here.pool, 100)
    _ = await placed(here.book, holder, "a", 100)
    waiting = await here.begin(holder, "b", 100, wait_s=0.4)
    assert await here.wait(other, "c", 100) is not None
    assert await waiting is None


# What wakes, besides.


async def test_a_hold_that_ends_elsewhere_is_noticed_within_a_second(
    here: Process, there: Process, holder: Holder
) -> None:
    took: list[float] = []
    for number in range(5):
        hold = await placed(there.book, holder, f"a{number}", 100)
        waiting = await here.begin(holder, f"b{number}", 100)
        await void(there.book, hold)
        ended = monotonic()
        mine = await waiting
        took.append(monotonic() - ended)
        assert mine is not None
        await void(here.book, mine)
        await nobody_stands(here.pool)
    assert median(took) < ACROSS_PROCESSES_S


async def test_a_top_up_lets_a_request_go_on(
    here: Process, holder: Holder, sessions: Sessions
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 50)
    async with sessions.begin() as session:
        await credit.add(session, holder.account_id, 10, credit.Cause("tests"))
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


@pytest.mark.parametrize("of_the_account", [1, 20])
async def test_everybody_far_back_is_served_after_one_top_up(
    here: Process, holder: Holder, sessions: Sessions, of_the_account: int
) -> None:
    _ = await placed(here.book, holder, "a", 100)
    waiting = [await here.begin(holder, f"r{number}", 5) for number in range(of_the_account)]
    async with sessions.begin() as session:
        await credit.add(session, holder.account_id, 5 * of_the_account, credit.Cause("tests"))
    async with asyncio.timeout(PATIENCE_S):
        assert None not in await asyncio.gather(*waiting)
    # Where there is enough for several, they may overtake each other.
    assert sorted(here.turns) == sorted(f"r{number}" for number in range(of_the_account))


# Refusals.


@pytest.mark.usefixtures("blind")
async def test_what_a_charge_has_made_hopeless_is_refused_at_once(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 80, minimum=50)
    await settle(here.book, hold, 51)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is None
    await nobody_stands(here.pool)
    assert await hold_states(here.pool, holder) == ["settled"]


async def test_what_becomes_hopeless_elsewhere_is_refused_though_others_wait_in_front(
    here: Process, there: Process, holder: Holder
) -> None:
    settled = await placed(there.book, holder, "a", 50)
    _ = await placed(there.book, holder, "b", 50)
    front = await here.begin(holder, "front", 50)
    waiting = await here.begin(holder, "c", 80, minimum=60)
    await settle(there.book, settled, 45)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is None
    assert not front.done()
    front.cancel()
    await nobody_stands(here.pool)


async def test_who_has_waited_long_enough_is_refused_and_leaves_no_row(
    here: Process, holder: Holder
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    began = monotonic()
    assert await here.wait(holder, "b", 50, wait_s=0.2) is None
    assert monotonic() - began >= 0.2
    await nobody_stands(here.pool)
    assert await hold_states(here.pool, holder) == ["open"]


@pytest.mark.usefixtures("blind")
async def test_whoever_leaves_lets_the_one_behind_try(here: Process, holder: Holder) -> None:
    _ = await placed(here.book, holder, "a", 60)
    _ = await here.begin(holder, "large", 90, wait_s=0.2)
    small = await here.begin(holder, "small", 40)
    async with asyncio.timeout(PATIENCE_S):
        assert await small is not None
    assert here.turns == ["small"]


@pytest.mark.usefixtures("blind")
async def test_who_is_cancelled_leaves_no_row_and_lets_the_one_behind_try(
    here: Process, holder: Holder
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    large = await here.begin(holder, "large", 90)
    small = await here.begin(holder, "small", 40)
    large.cancel()
    async with asyncio.timeout(PATIENCE_S):
        assert await small is not None
    with pytest.raises(asyncio.CancelledError):
        await large
    await nobody_stands(here.pool)
    assert await hold_states(here.pool, holder) == ["open", "open"]


async def test_the_line_of_an_account_is_bounded(
    here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITERS_MAX", 2)
    hold = await placed(here.book, holder, "a", 100)
    line = [await here.begin(holder, name, 100) for name in "bc"]
    assert await here.wait(holder, "d", 1) is None
    other = await create_holder(here.pool, 100)
    assert await here.wait(other, "of another account", 100) is not None
    await void(here.book, hold)
    assert await line[0] is not None
    line.append(await here.begin(holder, "e", 100))
    for task in line[1:]:
        task.cancel()
    await nobody_stands(here.pool)


async def test_the_line_is_bounded_for_those_who_come_at_once(
    here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITERS_MAX", 3)
    _ = await placed(here.book, holder, "a", 100)
    asking = [asyncio.create_task(here.wait(holder, f"r{n}", 100)) for n in range(12)]
    refused, waiting_here = await asyncio.wait(
        asking, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S
    )
    while len(refused) < 9:
        more, waiting_here = await asyncio.wait(
            waiting_here, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S
        )
        assert more
        refused |= more
    await until(lambda: standing(here.pool), 3)
    assert len(here.line(holder)) == 3
    for task in waiting_here:
        task.cancel()
    await nobody_stands(here.pool)


# Processes that die, and a database that goes.


async def test_the_row_of_a_waiter_that_lives_is_kept_alive(
    here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ALIVE_S", 0.5)
    monkeypatch.setattr(waiting, "HEARTBEAT_S", 0.05)
    _ = await placed(here.book, holder, "a", 100)
    waiting_here = await here.begin(holder, "b", 100)
    entered = await here.pool.fetchval("SELECT alive_until FROM waiters")
    passed = "SELECT (now() > $1)::integer"
    await until(lambda: here.pool.fetchval(passed, entered), 1)
    assert await here.pool.fetchval("SELECT alive_until > now() FROM waiters")
    waiting_here.cancel()
    await nobody_stands(here.pool)


async def test_a_waiter_whose_process_was_killed_stops_counting(
    here: Process, there: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ALIVE_S", 0.5)
    hold = await placed(here.book, holder, "a", 100)
    killed = await there.begin(holder, "b", 100)
    position = await here.pool.fetchval("SELECT position FROM waiters")
    # What is left of a killed process: a row that nobody renews, and nobody takes away.
    assert there.waiters._polling
    there.waiters._polling.cancel()
    alive = await here.begin(holder, "c", 100)
    await void(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await alive is not None
    rows = await here.pool.fetch("SELECT position, alive_until < now() AS dead FROM waiters")
    assert [(row["position"], row["dead"]) for row in rows if row["position"] == position] == [
        (position, True)
    ]
    killed.cancel()
    await nobody_stands(here.pool)


async def cut(dsn: str, *pools: Pool) -> None:
    """Terminate every session of these pools; returns when both sides know."""
    cut = [holder._con for pool in pools for holder in pool._connections._holders if holder._con]
    connection = await asyncpg.connect(dsn)
    try:
        _ = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    async with asyncio.timeout(PATIENCE_S):
        while not all(session.is_closed() for session in cut):
            await asyncio.sleep(0.001)


def tries_of(process: Process, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tells of every try of a waiter that was in vain and is over."""
    tries: list[int] = []
    funds = process.book.funds

    async def counted(account_id: int) -> Funds:
        found = await funds(account_id)
        tries.append(account_id)
        return found

    monkeypatch.setattr(process.book, "funds", counted)
    return tries


async def test_a_cut_of_every_connection_loses_no_waiter_and_admits_nobody_too_many(
    dsn: str, here: Process, there: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    tries_here, tries_there = (tries_of(process, monkeypatch) for process in (here, there))
    waiting = [
        await process.begin(holder, f"r{number}", 60)
        for number, process in enumerate([here, there, here, there])
    ]
    async with asyncio.timeout(PATIENCE_S):
        # One that meets the cut while it tries is told that the database is away.
        while not (tries_here and tries_there):
            await asyncio.sleep(0.001)
    for _ in range(5):
        await cut(dsn, here.pool, there.pool)
    for number, task in enumerate(waiting):
        await until_ended(here.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            next_hold = await task
        assert next_hold is not None
        assert [other for other in waiting if other.done()] == waiting[: number + 1]
        hold = next_hold
    assert (await account_of(here.pool, holder)).held == 60


async def until_ended(book: Book, hold: Hold) -> None:
    """Void a hold, as often as the database has to be asked."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await book.void(hold)
            except UNAVAILABLE:
                await asyncio.sleep(0.01)


async def test_who_lost_its_row_still_gets_its_turn(here: Process, holder: Holder) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = await here.begin(holder, "b", 100)
    # The table is empty after a crash of the database.
    await here.pool.execute("TRUNCATE waiters")
    await void(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


async def test_a_look_that_fails_is_not_the_last(
    here: Process,
    there: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold = await placed(there.book, holder, "a", 100)
    with monkeypatch.context() as broken:
        broken.setattr(statements, "PROMISING", f"{statements.PROMISING} AND 1 / 0 > 0")
        waiting = await here.begin(holder, "b", 100)
        async with asyncio.timeout(PATIENCE_S):
            while "the poll of waiters failed" not in caplog.text:
                await asyncio.sleep(0.005)
    await void(there.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


# What waiting costs.


async def test_twenty_who_wait_leave_the_only_connection_to_others(
    dsn: str, pool: Pool, holder: Holder
) -> None:
    async with process(dsn, size=1) as narrow:
        hold = await placed(narrow.book, holder, "a", 100)
        waiting = [await narrow.begin(holder, f"r{number}", 5) for number in range(20)]
        other = await create_holder(pool, 1000)
        for number in range(20):
            await settle(narrow.book, await placed(narrow.book, other, f"o{number}", 10), 10)
        await void(narrow.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            assert None not in await asyncio.gather(*waiting)
    await nobody_stands(pool)


async def test_nobody_looks_while_nobody_waits(here: Process, holder: Holder) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = await here.begin(holder, "b", 100)
    assert here.waiters._polling
    polling = here.waiters._polling
    await void(here.book, hold)
    assert await waiting is not None
    async with asyncio.timeout(PATIENCE_S):
        await polling
    assert here.waiters._polling is None
    await nobody_stands(here.pool)
    assert here.waiters._by_account == {}


async def test_closing_ends_every_task(dsn: str, pool: Pool, holder: Holder) -> None:
    async with process(dsn) as closed:
        _ = await placed(closed.book, holder, "a", 100)
        waiting = await closed.begin(holder, "b", 100)
        waiting.cancel()
        await asyncio.wait([waiting])
        tasks = set(closed.waiters._tasks)
        assert len(tasks) == 2
    assert all(task.done() for task in tasks)
    await nobody_stands(pool)


# Everything at once.


async def test_a_balance_is_spent_to_the_last_credit_whoever_waits_for_whom(
    dsn: str, pool: Pool
) -> None:
    holder = await create_holder(pool, 60 * 15)

    async def spend(process: Process) -> int:
        """Hold 60 and use 15, again and again, until it is refused."""
        served = 0
        while True:
            hold = await process.wait(holder, f"r{next(_numbers)}", 60, minimum=15)
            if hold is None:
                return served
            await asyncio.sleep(0)
            _ = await process.book.settle(hold, Usage(input=10, output=5, total=15))
            served += 1

    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process(dsn, size=5)) for _ in range(2)]
        async with asyncio.timeout(PATIENCE_S * 2):
            served = await asyncio.gather(
                *(spend(process) for process in processes for _ in range(6))
            )
        assert sum(served) == 60
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (0, 0)
    await end_leases(pool)
    assert (await audit(pool)).violations == []
