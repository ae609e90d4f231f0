"""What a migration waits for, what it says meanwhile, and what it survives."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from tests.support import version_1
from tests.support.database_server import until
from tests.support.old_books import OldBooks
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool
from tokenbalance.database.migrate import migrate
from tokenbalance.database.moving import progress
from tokenbalance.database.moving.upgrade import Move
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Generator

    from sqlalchemy import Connection as AlchemyConnection

    from tests.books.migrating.conftest import Connection

_begin: Final = Move._begin


class Watched:
    """A migration that says everything."""

    def __init__(self, dsn: str) -> None:
        self._lines: list[str] = []
        self.task: Final = asyncio.create_task(asyncio.to_thread(migrate, dsn, self._lines.append))

    async def until_it_says(self, line: str) -> None:
        await until(lambda: self.task.done() or any(line in said for said in self._lines), line)
        assert not self.task.done()


@pytest.fixture
def _says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0)


@pytest.mark.usefixtures("_says_everything")
async def test_entries_that_are_not_committed_yet_are_waited_for(
    old_dsn: str, connection: Connection, old: OldBooks
) -> None:
    late = connection.transaction()
    await late.start()
    await old.enter(1, "top-up", 5, key="late")
    other = await asyncpg.connect(old_dsn)
    await OldBooks(other).enter(2, "top-up", 6, key="its id is larger")
    await other.close()
    move = Watched(old_dsn)
    try:
        await move.until_it_says("Waiting for 1 transactions that write to ledger_entries")
    finally:
        await late.commit()
        await move.task
    rows = await connection.fetch("SELECT idempotency_key FROM ledger ORDER BY id DESC LIMIT 2")
    assert [row[0] for row in rows] == ["its id is larger", "late"]


@pytest.mark.usefixtures("_says_everything")
async def test_requests_go_on_while_the_switch_waits_for_a_reader(
    old_dsn: str, connection: Connection, old: OldBooks
) -> None:
    reader = await asyncpg.connect(old_dsn)
    reading = reader.transaction()
    await reading.start()
    await reader.fetch("SELECT FROM holds")
    move = Watched(old_dsn)
    try:
        await move.until_it_says("Waiting for others to end their transactions on the books")
        for number in range(3):
            await old.place(1, f"te_{number}")
            await old.settle(1, f"te_{number}")
        before = await version_1.said(connection, version_1.WHAT_IT_SAYS)
    finally:
        await reading.rollback()
        await reader.close()
        await move.task
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == before


async def test_a_hold_that_was_open_during_the_switch_is_settled_by_the_new_release(
    old_dsn: str, connection: Connection, old: OldBooks
) -> None:
    await asyncio.to_thread(migrate, old_dsn)
    # What a server of the release before gets now; its journal keeps the end of the request.
    with pytest.raises(asyncpg.UndefinedTableError):
        await old.settle(3, "tb_open_1")
    async with open_pool(old_dsn, size=1) as pool:
        book = Book(pool)
        for request, total in (("tb_open_1", 25), ("tb_open_2", 70)):
            known = await book.known(3, request)
            charge = await book.settle(known.hold, Usage(total=total))
            assert charge is not None
            assert charge.amount == total
    assert await connection.fetchval("SELECT held FROM accounts WHERE id = 3") == 0


_MIGRATE_ROW_BY_ROW: Final = """
import sys
from tokenbalance.database.migrate import migrate
from tokenbalance.database.moving import upgrade
upgrade.BATCH_ROWS = 1
migrate(sys.argv[1])
"""


async def test_a_second_process_waits_and_goes_on_where_the_first_was_killed(
    old_dsn: str, connection: Connection
) -> None:
    before = await version_1.said(connection, version_1.WHAT_IT_SAYS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MIGRATE_ROW_BY_ROW, old_dsn
    )
    await until(lambda: _entries_moved(connection, 10), "some entries are moved")
    second = asyncio.create_task(asyncio.to_thread(migrate, old_dsn))
    await until(lambda: _is_connected(connection, sessions=4), "the second one is connected")
    moved = await connection.fetchval("SELECT entries_until FROM books_move")
    await until(lambda: _entries_moved(connection, moved + 3), "more entries are moved")
    # Three of the first one, and the one in which the second one waits.
    assert await connection.fetchval(_SESSIONS) == 4
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    await second
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == before


_SESSIONS: Final = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend'
   AND pid <> pg_backend_pid()
"""


async def _is_connected(connection: Connection, sessions: int) -> bool:
    return await connection.fetchval(_SESSIONS) >= sessions


async def _entries_moved(connection: Connection, entries: int) -> bool:
    try:
        return await connection.fetchval("SELECT entries_until > $1 FROM books_move", entries)
    except asyncpg.UndefinedTableError:
        return False


async def test_a_lost_connection_ends_the_move_and_the_next_one_goes_on(
    old_dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await version_1.said(connection, version_1.WHAT_IT_SAYS)
    loop = asyncio.get_running_loop()
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    batches = 0

    @contextmanager
    def begin(move: Move) -> Generator[AlchemyConnection]:
        nonlocal batches
        batches += 1
        with _begin(move) as work:
            yield work
            if batches == 5:
                asyncio.run_coroutine_threadsafe(connection.execute(others), loop).result()

    monkeypatch.setattr(Move, "_begin", begin)
    with pytest.raises(DBAPIError):
        await asyncio.to_thread(migrate, old_dsn)
    monkeypatch.undo()
    await asyncio.to_thread(migrate, old_dsn)
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == before
