"""Leases: the heartbeat of a process, and the usage so far that it notes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import create_holder, end_leases, hold_states, placed
from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.product import serving
from tests.support.upstream import Gate, ScriptedUpstream, event_stream
from tokenbalance.books.holds import leases as module
from tokenbalance.books.holds.journal import JournalUnavailable
from tokenbalance.books.holds.leases import Lease, Leases
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database import statements
from tokenbalance.model import Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

PATIENCE_S = 10.0
SEEN = Usage({"input": 4, "output": 9}, total=13, estimated=True)


@pytest.fixture
async def book(pool: Pool) -> AsyncIterator[Book]:
    yield Book(pool)
    assert (await audit(pool)).violations == []


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 10_000)


@pytest.fixture
async def leases(book: Book, tmp_path: Path) -> AsyncIterator[Leases]:
    leases = Leases(tmp_path / "journal")
    await leases.open_journal(book)
    yield leases
    leases.close_journal()


@pytest.fixture
def heartbeats(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many holds each statement of a heartbeat was about."""
    seen: list[int] = []
    execute = pool.execute

    async def counting(statement: str, *arguments: object) -> str:
        if statement == statements.RENEW:
            requests: Any = arguments[1]
            seen.append(len(requests))
        return await execute(statement, *arguments)

    monkeypatch.setattr(pool, "execute", counting)
    return seen


def begin(leases: Leases, holder: Holder, request_id: str) -> Lease:
    return leases.begin(holder.caller, Purpose(request_id, "/chat/completions", "gpt-4o-mini"))


async def leased(book: Book, leases: Leases, holder: Holder, request_id: str) -> Lease:
    """A request with an open hold of 10."""
    lease = begin(leases, holder, request_id)
    lease.hold = await placed(book, holder, request_id, 10)
    return lease


def known_when_looked(usage: Usage) -> Callable[[], Callable[[], Usage]]:
    return lambda: lambda: usage


async def known(book: Book, holder: Holder, request_id: str) -> Usage:
    return (await book.known(holder.account_id, request_id)).usage


# One statement.


async def test_all_leases_of_a_process_are_renewed_by_one_statement(
    pool: Pool, book: Book, leases: Leases, heartbeats: list[int]
) -> None:
    holders = [await create_holder(pool, 1000) for _ in range(3)]
    for number in range(90):
        _ = await leased(book, leases, holders[number % 3], f"r{number}")
    await end_leases(pool)
    assert len(await book.lapsed(100)) == 90
    await leases.send_heartbeat(book)
    assert heartbeats == [90]
    assert await book.lapsed(100) == []


async def test_very_many_leases_are_renewed_in_batches(
    pool: Pool,
    book: Book,
    leases: Leases,
    holder: Holder,
    heartbeats: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HOLDS_PER_STATEMENT", 3)
    for number in range(7):
        _ = await leased(book, leases, holder, f"r{number}")
    await end_leases(pool)
    await leases.send_heartbeat(book)
    assert heartbeats == [3, 3, 1]
    assert await book.lapsed(100) == []


async def test_a_heartbeat_without_leases_still_asks_the_database(
    book: Book, leases: Leases, heartbeats: list[int]
) -> None:
    await leases.send_heartbeat(book)
    assert heartbeats == [0]


async def test_a_lease_whose_hold_is_not_placed_yet_is_not_renewed(
    book: Book, leases: Leases, holder: Holder, heartbeats: list[int]
) -> None:
    lease = begin(leases, holder, "a")
    await leases.send_heartbeat(book)
    lease.hold = await placed(book, holder, "a", 10)
    await leases.send_heartbeat(book)
    assert heartbeats == [0, 1]


async def test_a_lease_that_ended_is_not_renewed(
    book: Book, leases: Leases, holder: Holder, heartbeats: list[int]
) -> None:
    ended, _ = [await leased(book, leases, holder, name) for name in "ab"]
    assert ended.hold
    await book.void(ended.hold)
    leases.end(ended)
    await leases.send_heartbeat(book)
    assert heartbeats == [1]
    assert await hold_states(book._pool, holder) == ["voided", "open"]


# What was seen.


async def test_a_heartbeat_notes_the_usage_so_far_of_each(
    pool: Pool, book: Book, leases: Leases, holder: Holder
) -> None:
    for number in range(3):
        lease = await leased(book, leases, holder, f"r{number}")
        lease.look = known_when_looked(Usage({"input": 4, "output": number}, total=4 + number))
    silent = await leased(book, leases, holder, "silent")
    await leases.send_heartbeat(book)
    for number in range(3):
        seen = await known(book, holder, f"r{number}")
        assert (seen.input, seen.output) == (4, number)
    assert await known(book, holder, "silent") == Usage(estimated=True)
    silent.look = known_when_looked(SEEN)
    await leases.send_heartbeat(book)
    assert await known(book, holder, "silent") == SEEN
    await end_leases(pool)
    for lapsed in await book.lapsed(10):
        assert await book.expire(lapsed.hold, lapsed.usage)


async def test_what_is_counted_is_what_was_there_when_it_was_looked_at(
    book: Book, leases: Leases, holder: Holder
) -> None:
    lease = await leased(book, leases, holder, "a")
    text = ["one"]

    def look() -> Callable[[], Usage]:
        taken = len(text)
        text.append("arrived while it is counted")
        return lambda: Usage({"output": taken}, total=taken)

    lease.look = look
    await leases.send_heartbeat(book)
    assert (await known(book, holder, "a")).output == 1
    await leases.send_heartbeat(book)
    assert (await known(book, holder, "a")).output == 2


async def test_it_is_looked_on_the_event_loop_and_counted_in_a_thread(
    book: Book, leases: Leases, holder: Holder
) -> None:
    lease = await leased(book, leases, holder, "a")
    threads: list[int] = []

    def look() -> Callable[[], Usage]:
        threads.append(threading.get_ident())
        return count

    def count() -> Usage:
        threads.append(threading.get_ident())
        return SEEN

    lease.look = look
    await leases.send_heartbeat(book)
    looked, counted = threads
    assert looked == threading.get_ident() != counted


async def test_a_count_that_fails_stops_no_heartbeat(
    pool: Pool,
    book: Book,
    leases: Leases,
    holder: Holder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> Usage:
        msg = "it cannot be counted"
        raise RuntimeError(msg)

    before, failing, after = [await leased(book, leases, holder, name) for name in "abc"]
    before.look = after.look = known_when_looked(SEEN)
    failing.look = known_when_looked(SEEN)
    await leases.send_heartbeat(book)
    failing.look = lambda: fail
    await end_leases(pool)
    await leases.send_heartbeat(book)
    assert await book.lapsed(10) == []
    # What was noted before stands.
    assert [await known(book, holder, name) for name in "abc"] == [SEEN] * 3
    assert "the usage of b so far cannot be counted" in caplog.text


async def test_a_hold_that_ends_while_it_is_counted_stays_ended(
    pool: Pool, book: Book, leases: Leases, holder: Holder
) -> None:
    lease = await leased(book, leases, holder, "a")
    counting, counted = threading.Event(), threading.Event()

    def count() -> Usage:
        counting.set()
        assert counted.wait(PATIENCE_S)
        return SEEN

    lease.look = lambda: count
    heartbeat = asyncio.create_task(leases.send_heartbeat(book))
    assert await asyncio.to_thread(counting.wait, PATIENCE_S)
    assert lease.hold
    _ = await book.settle(lease.hold, Usage({"input": 1, "output": 1}, total=2))
    leases.end(lease)
    counted.set()
    await heartbeat
    assert await hold_states(pool, holder) == ["settled"]
    assert (await known(book, holder, "a")).total == 0


async def test_the_usage_so_far_of_a_stream_grows_with_every_heartbeat(
    dsn: str, pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, 1000)
    gates = [Gate(), Gate(), Gate()]
    upstream.script(
        event_stream(
            *(content("Hello"), gates[0], content(" there"), gates[1], content(" you"), gates[2]),
            *(USAGE, DONE),
        )
    )
    outputs: list[int] = []
    async with (
        asyncio.timeout(PATIENCE_S * 2),
        serving(dsn, upstream.base_url, lease_s=1, data_dir=tmp_path) as url,
        http.stream(
            "POST", f"{url}/v1/chat/completions", json=STREAM, headers=holder.headers
        ) as response,
    ):
        for number, gate in enumerate(gates, start=1):
            while (output := await pool.fetchval("SELECT known_output FROM open_holds")) < number:
                await asyncio.sleep(0.01)
            outputs.append(output)
            assert await pool.fetchval("SELECT lease_until > now() FROM open_holds")
            assert await pool.fetchval("SELECT known_input FROM open_holds") == 9
            gate.open()
        _ = await response.aread()
    assert outputs == [1, 2, 3]
    assert await hold_states(pool, holder) == ["settled"]


# Care.


async def test_a_request_is_in_care_from_before_its_hold_to_its_end(
    leases: Leases, holder: Holder
) -> None:
    lease = begin(leases, holder, "a")
    assert "a" in leases
    assert (len(leases), leases.journal.in_use) == (1, 1)
    leases.end(lease)
    assert "a" not in leases
    assert (len(leases), leases.journal.in_use) == (0, 0)


async def test_nothing_is_taken_into_care_that_cannot_be_written_down(
    leases: Leases, holder: Holder
) -> None:
    leases.close_journal()
    with pytest.raises(JournalUnavailable):
        _ = begin(leases, holder, "a")
    assert len(leases) == 0


async def test_nothing_is_taken_into_care_before_the_journal_is_open(
    book: Book, holder: Holder, tmp_path: Path
) -> None:
    leases = Leases(tmp_path / "journal")
    with pytest.raises(JournalUnavailable):
        _ = begin(leases, holder, "a")
    await leases.open_journal(book)
    first = leases.journal
    await leases.open_journal(book)
    assert leases.journal is first
    leases.end(begin(leases, holder, "a"))
    leases.close_journal()


async def test_a_heartbeat_that_the_database_does_not_answer_is_an_error(
    book: Book, leases: Leases, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_holds: object) -> None:
        raise ConnectionResetError

    lease = begin(leases, holder, "a")
    lease.hold = Hold("a", holder.account_id, 10)
    monkeypatch.setattr(book, "renew", refuse)
    with pytest.raises(ConnectionResetError):
        await leases.send_heartbeat(book)
