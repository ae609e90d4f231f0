"""The sweep: whose holds it ends, whose it leaves alone, and what ends the sweep (nothing)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    account_of,
    charges_of,
    create_holder,
    end_leases,
    entries_of,
    hold_states,
    placed,
)
from tokenbalance.books.holds import sweep as module
from tokenbalance.books.holds.journal import Entry, adoption
from tokenbalance.books.holds.leases import Lease, Leases
from tokenbalance.books.holds.sweep import Sweep
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.settlements import Settlement
from tokenbalance.database import statements
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Known
    from tokenbalance.database.connections import Pool

PATIENCE_S = 10.0
LEASE_S = 0.3
"""With a heartbeat every 0.1 s, for which a sweep waits before it ends the holds of others."""
USED = Usage(input=10, output=15, total=25)


@dataclass
class Process:
    """What a process has to do with leases."""

    pool: Pool
    book: Book
    leases: Leases
    sweep: Sweep

    async def hold(self, holder: Holder, request_id: str, amount: int = 60) -> Lease:
        """Begin a request, as far as its hold."""
        purpose = Purpose(request_id, "/chat/completions", "gpt-4o-mini")
        lease = self.leases.begin(holder.caller, purpose)
        lease.hold = await placed(self.book, holder, request_id, amount)
        return lease

    async def connect(self) -> None:
        """Send a heartbeat, and wait until every other process has sent one too."""
        await self.sweep._send_heartbeat()
        await until(self.sweep._others_had_a_heartbeat)

    def die(self) -> None:
        """End as a killed process does: the kernel closes its files, nothing else happens."""
        self.leases.journal._slots.file.close()
        self.leases.journal._closed = True


def damage(journal: Path) -> None:
    """Add a line that says nothing."""
    journal.write_bytes(journal.read_bytes() + b"u 00000000 {}".ljust(511) + b"\n")


def files(folder: Path, suffix: str) -> int:
    """How many files of this machine's processes there are."""
    return len(list(folder.glob(f"journal/**/*.{suffix}")))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def until_states(pool: Pool, holder: Holder, expected: list[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sorted(await hold_states(pool, holder)) != sorted(expected):
            await asyncio.sleep(0.01)


async def new_process(pool: Pool, folder: Path, lease_s: float = LEASE_S) -> Process:
    book = Book(pool, lease_s)
    leases = Leases(folder)
    await leases.open_journal(book)
    return Process(pool, book, leases, Sweep(pool, book, leases, sweep_s=0.02))


@pytest.fixture
async def here(pool: Pool, tmp_path: Path) -> AsyncIterator[Process]:
    """The process that sweeps; the books are sound after each of these tests."""
    here = await new_process(pool, tmp_path / "journal")
    yield here
    here.leases.close_journal()
    assert (await audit(pool)).violations == []


@pytest.fixture
async def elsewhere(dsn: str, tmp_path: Path) -> AsyncIterator[Process]:
    """A process on another machine, whose journal nobody here can read."""
    async with open_pool(dsn, 2) as pool:
        elsewhere = await new_process(pool, tmp_path / "of another machine")
        yield elsewhere
        elsewhere.leases.close_journal()


@pytest.fixture
async def beside(pool: Pool, tmp_path: Path) -> Process:
    """A process on this machine, with its journal in the same folder."""
    return await new_process(pool, tmp_path / "journal")


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@asynccontextmanager
async def running(*sweeps: Sweep) -> AsyncGenerator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(sweep.run()) for sweep in sweeps]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def refuse(error: Exception) -> Callable[..., Awaitable[None]]:
    async def refused(*_arguments: object) -> None:
        raise error

    return refused


# What lapsed.


async def test_the_lapsed_hold_of_a_dead_process_is_charged_what_its_last_heartbeat_noted(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    lease = await elsewhere.hold(holder, "a")
    lease.look = lambda: lambda: Usage(input=7, output=3, total=10)
    await elsewhere.leases.send_heartbeat(elsewhere.book)
    await end_leases(pool)
    await here.connect()
    await here.sweep._sweep()
    (charge,) = await charges_of(pool, holder)
    assert (charge["amount"], charge["estimated"]) == (-10, True)
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_hold_lapses_by_itself_once_its_heartbeats_stop(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    renewed, _ = await elsewhere.hold(holder, "a"), await here.hold(holder, "b")
    async with running(here.sweep, elsewhere.sweep):
        # Several leases long, both processes live, and what they hold stays.
        begun = await pool.fetchval("SELECT max(lease_until) FROM holds")
        async with asyncio.timeout(PATIENCE_S):
            while not await pool.fetchval(
                "SELECT now() > $1::timestamptz + interval '0.6 s'", begun
            ):
                await asyncio.sleep(0.02)
        assert await hold_states(pool, holder) == ["open", "open"]
    assert renewed.hold
    async with running(here.sweep):
        await until_states(pool, holder, ["expired", "open"])
    assert await pool.fetchval("SELECT request_id FROM holds WHERE state = 'expired'") == "a"


async def test_of_several_sweeps_one_expires_a_hold(
    dsn: str, pool: Pool, here: Process, elsewhere: Process, holder: Holder, tmp_path: Path
) -> None:
    for number in range(20):
        lease = await elsewhere.hold(holder, f"r{number}", 10)
        lease.look = lambda: lambda: Usage(input=2, output=1, total=3)
    await elsewhere.leases.send_heartbeat(elsewhere.book)
    await end_leases(pool)
    async with open_pool(dsn, 4) as other_pool:
        others = [await new_process(other_pool, tmp_path / f"other {n}") for n in range(3)]
        sweeping = [here, *others]
        await asyncio.gather(*(process.connect() for process in sweeping))
        await asyncio.gather(*(process.sweep._sweep() for process in sweeping))
        for process in others:
            process.leases.close_journal()
    assert await hold_states(pool, holder) == ["expired"] * 20
    assert len(await charges_of(pool, holder)) == 20
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (1000 - 20 * 3, 0)


async def test_a_process_never_expires_what_it_holds_itself(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    _ = await here.hold(holder, "mine")
    _ = await elsewhere.hold(holder, "theirs")
    await here.connect()
    await end_leases(pool)
    await here.sweep._sweep()
    rows = await pool.fetch("SELECT request_id, state FROM holds ORDER BY request_id")
    assert [tuple(row) for row in rows] == [("mine", "open"), ("theirs", "expired")]


async def test_a_lease_that_is_renewed_while_another_sweeps_is_not_ended(
    pool: Pool,
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ = await elsewhere.hold(holder, "a")
    await here.connect()
    await end_leases(pool)
    lapsed = here.book.lapsed
    listed: list[str] = []

    async def renewed_just_in_time(limit: int) -> list[Known]:
        found = await lapsed(limit)
        listed.extend(known.hold.request_id for known in found)
        await elsewhere.leases.send_heartbeat(elsewhere.book)
        return found

    monkeypatch.setattr(here.book, "lapsed", renewed_just_in_time)
    await here.sweep._sweep()
    assert listed == ["a"]
    assert await hold_states(pool, holder) == ["open"]


async def test_one_sweep_ends_more_than_one_statement_lists(
    pool: Pool,
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HOLDS_AT_ONCE", 3)
    for number in range(7):
        _ = await elsewhere.hold(holder, f"r{number}", 10)
    await here.connect()
    await end_leases(pool)
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"] * 7


# A database that was away.


async def test_others_get_time_for_a_heartbeat_after_the_database_was_away(
    pool: Pool,
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ = await elsewhere.hold(holder, "a")
    await end_leases(pool)
    await here.connect()
    with monkeypatch.context() as away:
        away.setattr(here.book, "renew", refuse(ConnectionResetError()))
        with pytest.raises(ConnectionResetError):
            await here.sweep._send_heartbeat()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    # It is back, but whoever else was cut off may not have noticed.
    here.sweep._heartbeat_s = PATIENCE_S
    await here.sweep._send_heartbeat()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    here.sweep._heartbeat_s = 0.05
    await here.connect()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_process_that_has_just_started_gives_others_time_for_a_heartbeat(
    pool: Pool, here: Process, elsewhere: Process, holder: Holder
) -> None:
    _ = await elsewhere.hold(holder, "a")
    await end_leases(pool)
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), ValueError("a fault")])
async def test_no_error_ends_the_heartbeats_or_the_sweeps(
    here: Process,
    elsewhere: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    failed: set[str] = set()

    def fail_first(name: str) -> None:
        method: Callable[..., Awaitable[object]] = getattr(here.book, name)

        async def failing_first(*arguments: object) -> object:
            if name not in failed:
                failed.add(name)
                raise error
            return await method(*arguments)

        monkeypatch.setattr(here.book, name, failing_first)

    for name in ("renew", "lapsed", "expire"):
        fail_first(name)
    monkeypatch.setattr(module, "_RETRY_S", 0.02)
    _ = await elsewhere.hold(holder, "a")
    await end_leases(here.pool)
    async with running(here.sweep) as tasks:
        await until_states(here.pool, holder, ["expired"])
        assert failed == {"renew", "lapsed", "expire"}
        assert not tasks[0].done()


async def test_waiters_of_dead_processes_are_forgotten_after_a_minute(
    pool: Pool, here: Process, holder: Holder
) -> None:
    for alive_s in (-61.0, -59.0, 3.0):
        await pool.execute(statements.ENTER, holder.account_id, 10, alive_s)
    await here.connect()
    await here.sweep._sweep()
    rows = await pool.fetch("SELECT alive_until > now() AS alive FROM waiters ORDER BY position")
    assert [row["alive"] for row in rows] == [False, True]


ENDED_ELSEWHERE = """
INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, state, ended_at)
SELECT $1, 'elsewhere' || n, $2, 1, '', 'voided', now() FROM generate_series(1, 3000) n
"""


SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'holds'"


async def scans_of_a_settlement(pool: Pool, holder: Holder, request_id: str) -> int:
    """How often settling a hold reads all holds, for the checks of foreign keys as well."""
    hold = await placed(Book(pool), holder, request_id, 1)
    settlement = Settlement.of(hold, Usage(input=1, total=1))
    async with pool.acquire() as session, session.transaction():
        before = await session.fetchval(SCANS)
        await session.fetch(statements.SETTLE, *settlement.arguments())
        return int(await session.fetchval(SCANS)) - int(before)


async def test_plans_that_small_books_have_outgrown_are_made_anew(
    dsn: str, here: Process, holder: Holder
) -> None:
    await here.connect()
    await here.pool.execute("ALTER TABLE holds SET (autovacuum_enabled = false)")
    async with open_pool(dsn, 1) as one_session:
        await one_session.execute("ANALYZE holds")
        small = [await scans_of_a_settlement(one_session, holder, f"r{n}") for n in range(8)]
        assert small[-1] == 3
        await here.sweep._sweep()
        assert await scans_of_a_settlement(one_session, holder, "still small") == 3
        await one_session.execute(ENDED_ELSEWHERE, holder.account_id, holder.key_id)
        assert await scans_of_a_settlement(one_session, holder, "outgrown") == 3
        await here.sweep._sweep()
        assert await scans_of_a_settlement(one_session, holder, "made anew") == 0
    assert await here.pool.fetch(statements.OUTGROWN) == []


# What dead processes left in their journals.


async def test_usage_that_a_dead_process_knew_is_settled(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.use(USED)
    beside.die()
    await here.sweep._sweep()
    (charge,) = await charges_of(pool, holder)
    assert (charge["amount"], charge["estimated"]) == (-25, False)
    assert await hold_states(pool, holder) == ["settled"]
    assert files(tmp_path, "journal") == 1
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975


async def test_usage_is_settled_that_somebody_without_the_journal_had_estimated(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.use(USED)
    beside.die()
    assert lease.hold
    assert await here.book.expire(lease.hold, Usage(total=40, estimated=True), orphaned=True)
    await here.sweep._sweep()
    assert [amount for _, amount, _ in await entries_of(pool, holder)] == [1000, -40, 15]
    assert await hold_states(pool, holder) == ["expired"]


async def test_what_a_dead_process_was_to_void_is_voided(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.void()
    beside.die()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["voided"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (1000, 0)


async def test_what_a_dead_process_was_to_void_is_given_back_if_it_was_estimated_meanwhile(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.slot.void()
    beside.die()
    assert lease.hold
    assert await here.book.expire(lease.hold, Usage(total=40, estimated=True), orphaned=True)
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 1000


async def test_what_a_dead_process_had_dispatched_is_charged_what_is_known(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    lease.look = lambda: lambda: Usage(input=7, output=3, total=10)
    await beside.leases.send_heartbeat(beside.book)
    beside.die()
    # Its lease has not ended: its journal tells that it is gone.
    await here.sweep._sweep()
    (charge,) = await charges_of(pool, holder)
    assert (charge["amount"], charge["estimated"]) == (-10, True)
    assert await hold_states(pool, holder) == ["expired"]


async def test_what_a_dead_process_had_not_dispatched_is_voided(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    _ = await beside.hold(holder, "held")
    purpose = Purpose("not held", "/chat/completions", None)
    _ = beside.leases.begin(holder.caller, purpose)
    beside.die()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["voided", "voided"]
    assert (await account_of(pool, holder)).held == 0


async def test_after_a_power_cut_what_seems_not_dispatched_is_left_to_its_lease(
    pool: Pool, here: Process, beside: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = await beside.hold(holder, "a")
    beside.die()
    monkeypatch.setattr(adoption, "boot_id", lambda: "another")
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    await end_leases(pool)
    await here.connect()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"]


async def test_the_journal_of_a_process_that_lives_is_left_alone(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    lease = await beside.hold(holder, "a")
    lease.slot.dispatch()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["open"]
    beside.die()
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_journal_is_kept_aside_of_whose_requests_the_books_know_nothing(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    lease = await beside.hold(holder, "known")
    lease.slot.dispatch()
    lease.slot.use(USED)
    stranger = beside.leases.journal.begin(Entry("unknown", 4711, 1, "/chat/completions"))
    stranger.dispatch()
    beside.die()
    await here.sweep._sweep()
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975
    assert files(tmp_path, "unmatched") == 1
    assert files(tmp_path, "journal") == 1


async def test_a_damaged_journal_is_applied_and_kept_aside(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    lease = await beside.hold(holder, "known")
    lease.slot.dispatch()
    lease.slot.use(USED)
    beside.die()
    damage(beside.leases.journal._slots.file.path)
    await here.sweep._sweep()
    assert (await account_of(pool, holder)).balance == 975
    assert files(tmp_path, "unmatched") == 1


@pytest.mark.parametrize("dead", [1, 3])
async def test_journals_are_left_for_later_when_the_database_goes_meanwhile(
    pool: Pool,
    here: Process,
    holder: Holder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dead: int,
) -> None:
    for number in range(dead):
        process = await new_process(pool, tmp_path / "journal")
        for request_id in (f"{number} first", f"{number} second"):
            (await process.hold(holder, request_id)).slot.use(USED)
        process.die()
    settle = here.book.settle

    async def settle_first(hold: Hold, usage: Usage) -> object:
        if hold.request_id.endswith("second"):
            raise ConnectionResetError
        return await settle(hold, usage)

    with monkeypatch.context() as away:
        away.setattr(here.book, "settle", settle_first)
        with pytest.raises(ConnectionResetError):
            await here.sweep._sweep()
    assert files(tmp_path, "journal") == dead + 1
    await here.sweep._sweep()
    assert await hold_states(pool, holder) == ["settled"] * 2 * dead
    assert (await account_of(pool, holder)).balance == 1000 - 2 * dead * 25
    assert files(tmp_path, "journal") == 1


async def test_of_sweeps_on_one_machine_one_takes_a_dead_processs_journal(
    pool: Pool, here: Process, beside: Process, holder: Holder, tmp_path: Path
) -> None:
    for number in range(10):
        (await beside.hold(holder, f"r{number}")).slot.use(USED)
    beside.die()
    other = await new_process(pool, tmp_path / "journal")
    await asyncio.gather(here.sweep._sweep(), other.sweep._sweep())
    other.leases.close_journal()
    assert await hold_states(pool, holder) == ["settled"] * 10
    assert (await account_of(pool, holder)).balance == 750


async def test_a_running_sweep_ends_what_a_process_that_dies_beside_it_leaves(
    pool: Pool, here: Process, beside: Process, holder: Holder
) -> None:
    (await beside.hold(holder, "used")).slot.use(USED)
    (await beside.hold(holder, "dispatched")).slot.dispatch()
    _ = await beside.hold(holder, "placing")
    mine = await here.hold(holder, "mine")
    async with running(here.sweep, beside.sweep):
        begun = await pool.fetchval("SELECT max(lease_until) FROM holds")
        async with asyncio.timeout(PATIENCE_S):
            while not await pool.fetchval("SELECT min(lease_until) > $1 FROM holds", begun):
                await asyncio.sleep(0.01)
        assert await hold_states(pool, holder) == ["open"] * 4
    beside.die()
    async with running(here.sweep):
        await until_states(pool, holder, ["settled", "expired", "voided", "open"])
    assert mine.hold
    await here.book.void(mine.hold)
