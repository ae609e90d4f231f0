"""The request path's pool: each statement borrows a connection and ends by its deadline.

A connection is borrowed for one statement; none is held while bytes flow, and nothing waits for a
server without a deadline:

    no connection free, none can be opened    TimeoutError at the deadline
    one was opened for the statement          the deadline begins again: on a slow way, or a busy
                                              machine, no statement would ever get a result else
    no response                               TimeoutError at the deadline; the statement is
                                              cancelled in the background, its connection closed
    the task is cancelled                     the same, at once
    the server changed, or ends the session   closed, and so is every connection opened before
    the statement failed                      the connection is used again

Nothing here repeats a statement: only its caller knows whether that is safe.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg

from tokenbalance.database.batches import Turns
from tokenbalance.database.connections.failures import SESSION_OVER
from tokenbalance.database.connections.hosts import Connection, Hosts
from tokenbalance.database.connections.lender import Lender
from tokenbalance.database.connections.routes import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Borrowed: TypeAlias = Connection

T = TypeVar("T")

SWEEP_NAME: Final = "tokenbalance sweep"
"""That of the connection that sweeps. The audit and the panel look for it: does anybody sweep?"""
STATEMENT_TIMEOUT_S: Final = 2.5
"""From asking for a connection to the result, or to its opening and from there to the result. While
no connection can be opened, a client with a timeout of 3 s still gets its 503."""
BUSY_S: Final = 30.0
"""The longest wait for a connection while the database answers the statements that have one."""
_PROGRESS_CHECK: Final = 0.8
"""The fraction of a deadline after which a waiter checks whether others have been answered."""
CANCEL_TIMEOUT_S: Final = 0.5
"""How long an abandoned connection waits for the server to confirm the cancellation."""
CLOSE_TIMEOUT_S: Final = STATEMENT_TIMEOUT_S + CANCEL_TIMEOUT_S
"""How long a closing pool waits for running statements; each ends by itself before that."""
IDLE_CONNECTION_S: Final = 300.0
"""Idle connections are closed before firewalls and load balancers drop them (AWS: 350 s)."""


class Pool:
    """The request path's connections.

    Every method raises what asyncpg raises, and TimeoutError if `deadline_s` passes while it waits
    for a connection, opens one, or waits for the result. After a TimeoutError, a lost connection or
    a cancellation the statement may or may not have been committed.
    """

    def __init__(self, connections: Lender, size: int) -> None:
        self.turns: Turns = Turns()
        """The turns of all kinds of batches on this pool."""
        self._connections = connections
        self._free = size
        """How many more connections may be borrowed; negative while callers wait for one."""
        self._results = 0
        """How many statements have succeeded."""
        self._abandoned: set[asyncio.Task[None]] = set()

    async def fetch(
        self, statement: str, *arguments: object, deadline_s: float = STATEMENT_TIMEOUT_S
    ) -> list[asyncpg.Record]:
        """Run a statement; returns its rows."""
        return await self._run(lambda session: session.fetch(statement, *arguments), deadline_s)

    async def fetchrow(
        self, statement: str, *arguments: object, deadline_s: float = STATEMENT_TIMEOUT_S
    ) -> asyncpg.Record | None:
        """Run a statement; returns its first row, None when it has none."""
        return await self._run(lambda session: session.fetchrow(statement, *arguments), deadline_s)

    async def fetchval(  # pyright: ignore[reportAny] - the type of the column
        self, statement: str, *arguments: object, deadline_s: float = STATEMENT_TIMEOUT_S
    ) -> Any:  # noqa: ANN401 - as above  # pyright: ignore[reportExplicitAny] - as above
        """Run a statement; returns the first column of its first row, None when it has none."""
        row = await self.fetchrow(statement, *arguments, deadline_s=deadline_s)
        return None if row is None else row[0]

    async def execute(
        self, statement: str, *arguments: object, deadline_s: float = STATEMENT_TIMEOUT_S
    ) -> str:
        """Run a statement, or several without arguments; returns the command tag."""
        return await self._run(lambda session: session.execute(statement, *arguments), deadline_s)

    @asynccontextmanager
    async def acquire(self, deadline_s: float = STATEMENT_TIMEOUT_S) -> AsyncGenerator[Borrowed]:
        """Borrow a connection for a transaction; never on the request path.

        The deadline is for the connection only; the caller sets those of its statements.
        """
        self._free -= 1
        try:
            async with asyncio.timeout(deadline_s):
                session = await self._connections.borrow()
            try:
                yield session
            except BaseException as error:
                self._give_back_after(error, session)
                raise
            self._connections.give_back(session)
        finally:
            self._free += 1

    async def close(self) -> None:
        """Wait briefly for running statements, and close every connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connections.close()

    async def _run(self, statement: Callable[[Borrowed], Awaitable[T]], deadline_s: float) -> T:
        results = self._results
        self._free -= 1
        try:
            async with asyncio.timeout(deadline_s) as limit:
                session = await self._acquire(limit, deadline_s)
                if not session.uses:
                    limit.reschedule(asyncio.get_running_loop().time() + deadline_s)
                try:
                    result = await statement(session)
                except BaseException as error:
                    self._give_back_after(error, session)
                    raise
            self._results += 1
            self._connections.give_back(session)
        except TimeoutError:
            # It may have waited for a lock. But if nobody got a result, trust no connection.
            if self._results == results:
                self._connections.expire()
            raise
        finally:
            self._free += 1
        return result

    async def _acquire(self, limit: asyncio.Timeout, deadline_s: float) -> Borrowed:
        """Wait for a free connection, as long as the busy ones keep getting results."""
        if self._free >= 0:
            return await self._connections.borrow()
        loop = asyncio.get_running_loop()
        patience_ends = loop.time() + BUSY_S
        results = self._results

        def extend_while_answered() -> None:
            nonlocal results, timer
            if self._results != results and loop.time() < patience_ends:
                results = self._results
                limit.reschedule(loop.time() + deadline_s)
                timer = loop.call_later(deadline_s * _PROGRESS_CHECK, extend_while_answered)

        timer = loop.call_later(deadline_s * _PROGRESS_CHECK, extend_while_answered)
        try:
            return await self._connections.borrow()
        finally:
            timer.cancel()

    def _give_back_after(self, error: BaseException, session: Borrowed) -> None:
        if isinstance(error, SESSION_OVER):
            # This one too: an expired connection is closed when it is released.
            self._connections.expire()
        elif not isinstance(error, asyncpg.PostgresError):
            self._abandon(session)
            return
        self._connections.give_back(session)

    def _abandon(self, session: Borrowed) -> None:
        """Close a connection on which a statement still runs, without waiting for it here."""
        closing = asyncio.create_task(self._cancel_and_close(session))
        self._abandoned.add(closing)
        closing.add_done_callback(self._abandoned.discard)

    async def _cancel_and_close(self, session: Borrowed) -> None:
        """Have the server cancel the statement, so that it is not committed much later."""
        try:
            with suppress(Exception):  # it is closed in any case
                await session.close(timeout=CANCEL_TIMEOUT_S)
        finally:
            self._connections.drop(session)


@asynccontextmanager
async def open_pool(dsn: str, size: int, name: str = NAME) -> AsyncGenerator[Pool]:
    """Open a pool; connections are opened when first needed.

    Args:
        dsn: the database; if it names several hosts, the first that answers and fits is used.
        size: the maximum number of connections.
        name: their `application_name` in `pg_stat_activity`.

    """
    hosts = Hosts(dsn, name, STATEMENT_TIMEOUT_S)
    pool = Pool(Lender(hosts.connect, size, IDLE_CONNECTION_S), size)
    try:
        yield pool
    finally:
        await pool.close()
