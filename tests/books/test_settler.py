"""The ends of holds: each is tried by its request, and goes on without it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import charges_of, create_holder, hold_states, placed
from tests.support.locks import locked, until_blocked
from tokenbalance.books.holds.journal import State
from tokenbalance.books.holds.leases import Leases
from tokenbalance.books.holds.settler import Settler
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Charge, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.books.holds.leases import Lease
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Hold

PATIENCE_S = 20.0
FIRST_ACCOUNT = "SELECT FROM accounts ORDER BY id LIMIT 1 FOR UPDATE"
USED = Usage({"input": 3, "output": 4}, total=7)


@pytest.fixture
async def book(pool: Pool) -> AsyncIterator[Book]:
    """A book that is sound after each of these tests."""
    yield Book(pool)
    assert (await audit(pool)).violations == []


@pytest.fixture
async def leases(book: Book, tmp_path: Path) -> AsyncIterator[Leases]:
    leases = Leases(tmp_path / "journal")
    await leases.open_journal(book)
    yield leases
    leases.close_journal()


@pytest.fixture
def settler(book: Book, leases: Leases) -> Settler:
    return Settler(book, leases)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@pytest.fixture
async def lease(book: Book, leases: Leases, holder: Holder) -> Lease:
    return await leased(book, leases, holder, "tb_1")


@pytest.fixture
async def other(pool: Pool, book: Book, leases: Leases, holder: Holder) -> Lease:
    """A request of somebody whose account came after the holder's."""
    later = await create_holder(pool, 1000)
    assert later.account_id > holder.account_id
    return await leased(book, leases, later, "tb_2")


async def leased(book: Book, leases: Leases, holder: Holder, request_id: str) -> Lease:
    """A request that was sent, with an open hold of 10."""
    lease = leases.begin(holder.caller, Purpose(request_id, "/chat/completions", "gpt-4o-mini"))
    lease.hold = await placed(book, holder, request_id, 10)
    lease.slot.dispatch()
    return lease


def hold_of(lease: Lease) -> Hold:
    assert lease.hold is not None
    return lease.hold


async def settle(settler: Settler, lease: Lease, usage: Usage | None = USED) -> Charge | None:
    return await settler.settle(lease, hold_of(lease), usage, lambda: USED, Usage(total=10))


async def test_a_request_ends_its_hold_itself(
    settler: Settler, leases: Leases, lease: Lease
) -> None:
    assert await settle(settler, lease) == Charge(7, 993, 0)
    assert settler._tasks == set()
    assert (len(settler), len(leases), lease.slot.state) == (0, 0, State.FREE)


async def test_usage_that_nobody_reported_is_counted(settler: Settler, lease: Lease) -> None:
    assert await settle(settler, lease, None) == Charge(7, 993, 0)
    assert len(settler) == 0


@pytest.mark.parametrize("usage", [USED, None], ids=["reported", "counted"])
async def test_the_end_of_a_cancelled_request_goes_on_and_is_waited_for(
    pool: Pool, settler: Settler, leases: Leases, lease: Lease, other: Lease, usage: Usage | None
) -> None:
    async with locked(pool, FIRST_ACCOUNT):
        request = asyncio.create_task(settle(settler, lease, usage))
        await until_blocked(pool)
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled()
        assert await settle(settler, other)
        assert len(settler) == 1
    assert await settler.drain(PATIENCE_S) == 0
    assert len(leases) == 0
    assert [
        row["total"] for row in await pool.fetch("SELECT total FROM ledger WHERE state = 'settled'")
    ] == [7, 7]
    assert await pool.fetchval("SELECT sum(held) FROM accounts") == 0


async def test_a_request_that_is_cancelled_before_it_began_to_wait_is_charged(
    pool: Pool, settler: Settler, lease: Lease, holder: Holder
) -> None:
    async def be_cancelled() -> None:
        task = asyncio.current_task()
        assert task
        task.cancel()
        await settle(settler, lease)

    request = asyncio.create_task(be_cancelled())
    await asyncio.wait([request])
    assert request.cancelled()
    assert await settler.drain(PATIENCE_S) == 0
    assert [charge["total"] for charge in await charges_of(pool, holder)] == [7]


async def test_what_the_database_does_not_take_is_safe_on_the_disk_and_taken_later(
    pool: Pool,
    settler: Settler,
    lease: Lease,
    leases: Leases,
    book: Book,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synced: list[State] = []
    sync = leases.journal.sync

    async def note() -> None:
        synced.append(lease.slot.state)
        await sync()

    monkeypatch.setattr(leases.journal, "sync", note)
    with monkeypatch.context() as broken:

        async def refuse(*_: object) -> None:
            raise ConnectionResetError

        broken.setattr(book._settlements, "settle", refuse)
        assert await settle(settler, lease) is None
        assert synced == [State.USED]
        assert len(settler) == 1
    assert await settler.drain(PATIENCE_S) == 0
    assert await pool.fetchval("SELECT balance FROM accounts") == 993
    assert synced == [State.USED]


async def test_what_a_cancelled_request_could_not_commit_is_brought_to_the_disk(
    settler: Settler, lease: Lease, leases: Leases, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, synced = asyncio.Event(), asyncio.Event()
    sync = leases.journal.sync

    async def note() -> None:
        await sync()
        synced.set()

    async def refuse(*_: object) -> None:
        # Whoever waits for this cancels the request before anything else goes on.
        refused.set()
        raise ConnectionResetError

    monkeypatch.setattr(leases.journal, "sync", note)
    with monkeypatch.context() as broken:
        broken.setattr(book._settlements, "settle", refuse)
        request = asyncio.create_task(settle(settler, lease))
        await refused.wait()
        request.cancel()
        await asyncio.wait([request])
        await asyncio.wait_for(synced.wait(), PATIENCE_S)
    assert await settler.drain(PATIENCE_S) == 0


async def test_what_cannot_be_committed_in_time_is_left_to_the_journal(
    pool: Pool, settler: Settler, lease: Lease, other: Lease, leases: Leases, holder: Holder
) -> None:
    async with locked(pool, FIRST_ACCOUNT):
        request = asyncio.create_task(settle(settler, lease))
        await until_blocked(pool)
        request.cancel()
        await asyncio.wait([request])
        assert await settle(settler, other)
        assert await settler.drain(0.05) == 1
        assert settler._tasks == set()
        assert lease.slot.state is State.USED
    # What was sent goes on; it is the books that count.
    async with asyncio.timeout(PATIENCE_S):
        while await hold_states(pool, holder) != ["settled"]:
            await asyncio.sleep(0.002)
    leases.end(lease)
