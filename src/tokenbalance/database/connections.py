"""Connections to Postgres: the pool of the request path, sessions for everything else.

One DSN, read by asyncpg in both cases, so that a URL means the same to both. A connection is
borrowed for one statement; nothing here is ever held while bytes flow, and nothing here waits for
a server without a deadline:

    no connection free, none can be made      TimeoutError at the deadline
    no answer                                 TimeoutError at the deadline; what runs there is
                                              cancelled and its connection closed, unseen by anyone
    the task is cancelled                     the same, at once
    the server is another, or says goodbye    closed, and so is every connection opened before
    the statement failed                      the connection is used again

No statement is sent twice from here: only its owner knows whether that is safe.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from tokenbalance.database.batches import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from asyncpg.pool import PoolConnectionProxy

    Borrowed: TypeAlias = PoolConnectionProxy[asyncpg.Record]

Session: TypeAlias = AsyncSession
"""A transaction, as callers pass it on that build no statements themselves."""
Sessions: TypeAlias = async_sessionmaker[AsyncSession]
T = TypeVar("T")

NAME: Final = "tokenbalance"
"""What the server calls our connections."""
STATEMENT_TIMEOUT_S: Final = 2.5
"""From asking for a connection to the answer: what a client that waits 3 s for its 503 leaves."""
BUSY_S: Final = 30.0
"""How long at most a statement waits for a connection while the database answers others."""
_LOOK_BEFORE: Final = 0.8
"""Of a deadline, when it is looked at whether there are answers meanwhile."""
CONNECT_TIMEOUT_S: Final = 3.0
MANAGEMENT_TIMEOUT_S: Final = 60.0
"""Of a statement off the request path."""
CANCEL_TIMEOUT_S: Final = 0.5
"""How long an abandoned connection waits for the server to confirm that its statement is over."""
CLOSE_TIMEOUT_S: Final = STATEMENT_TIMEOUT_S + CANCEL_TIMEOUT_S
"""How long a closing pool waits for the statements under way; each ends before by itself."""
IDLE_CONNECTION_S: Final = 300.0
"""Unused ones are closed before the firewalls and balancers between forget them (AWS: 350 s)."""

SESSION_OVER: Final = (
    OSError,  # refused, reset, TLS, and TimeoutError
    asyncpg.InterfaceError,  # the pool or the connection is closed or in a wrong state
    asyncpg.InternalClientError,  # lost between two of the driver's own steps; no host is writable
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,  # starting up, shutting down, recovering
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,  # unlike the statement's, it ends the session
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or what was the primary before a failover
    asyncpg.InvalidSQLStatementNameError,  # a pooler gave us a session without what we prepared,
    asyncpg.DuplicatePreparedStatementError,  # or with what others did
    asyncpg.UnknownPostgresError,  # the code of a pooler or a provider, none of Postgres's own
)
"""After these a session is not used again, nor any that was opened before."""

UNAVAILABLE: Final = (
    *SESSION_OVER,
    asyncpg.OperatorInterventionError,  # cancelled, by statement_timeout too
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.ObjectNotInPrerequisiteStateError,  # lock_timeout; the database accepts no connections
    asyncpg.PostgresSystemError,  # I/O error
    asyncpg.InternalServerError,  # corrupted data or index; a pooler's word for no server
    asyncpg.InvalidAuthorizationSpecificationError,  # the password is being changed
    asyncpg.InvalidCatalogNameError,  # no such database, as while one is restored
    asyncpg.UndefinedTableError,  # not migrated yet
    asyncpg.UndefinedColumnError,  # the same
    asyncpg.InvalidCachedStatementError,  # migrated just now
)
"""What means that the database cannot do it now, and not that the statement is wrong."""

_NEXT_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)


def is_unavailable(error: BaseException) -> bool:
    """Whether an error of a statement, a session or a pool means what `UNAVAILABLE` means."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        # SQLAlchemy's own class stands between its error and asyncpg's.
        return isinstance(error.orig.__cause__, UNAVAILABLE)
    return isinstance(error, (*UNAVAILABLE, NoConnectionInTime))


class Pool:
    """The request path's connections: each statement borrows one and ends by its deadline.

    Every method raises what asyncpg raises, and TimeoutError when `deadline_s` has passed, be it in
    waiting for a connection, in making one, or in waiting for the answer. After a TimeoutError, a
    lost connection or a cancellation the statement may or may not have been committed.
    """

    def __init__(self, connections: asyncpg.Pool[asyncpg.Record]) -> None:
        self.turns: Turns = Turns()
        """Of what is sent together."""
        self._connections = connections
        self._free = connections.get_max_size()
        """How many more may be borrowed at once."""
        self._responses = 0
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

    async def fetchval(  # pyright: ignore[reportAny]
        self, statement: str, *arguments: object, deadline_s: float = STATEMENT_TIMEOUT_S
    ) -> Any:  # noqa: ANN401 - the column's type  # pyright: ignore[reportExplicitAny]
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

        The deadline is for getting it: whoever borrows it sets those of the statements.
        """
        self._free -= 1
        try:
            async with asyncio.timeout(deadline_s):
                session = await self._connections.acquire()
            try:
                yield session
            except BaseException as error:
                await self._give_back_after(error, session)
                raise
            await self._connections.release(session)
        finally:
            self._free += 1

    async def close(self) -> None:
        """Wait for the statements under way, but not for long, and close every connection."""
        with suppress(TimeoutError):
            # On cancellation asyncpg terminates what is left.
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connections.close()

    async def _run(self, statement: Callable[[Borrowed], Awaitable[T]], deadline_s: float) -> T:
        responses = self._responses
        self._free -= 1
        try:
            async with asyncio.timeout(deadline_s) as limit:
                session = await self._acquire(limit, deadline_s)
                try:
                    response = await statement(session)
                except BaseException as error:
                    await self._give_back_after(error, session)
                    raise
            self._responses += 1
            await self._connections.release(session)
        except TimeoutError:
            # A lock may be waited for; but when nobody was answered, no connection is trusted.
            if self._responses == responses:
                await self._connections.expire_connections()
            raise
        finally:
            self._free += 1
        return response

    async def _acquire(self, limit: asyncio.Timeout, deadline_s: float) -> Borrowed:
        """Wait for a free connection, for as long as those that are busy get their answers."""
        if self._free >= 0:
            return await self._connections.acquire()
        loop = asyncio.get_running_loop()
        patience_ends = loop.time() + BUSY_S
        responses = self._responses

        def wait_on() -> None:
            nonlocal responses, timer
            if self._responses != responses and loop.time() < patience_ends:
                responses = self._responses
                limit.reschedule(loop.time() + deadline_s)
                timer = loop.call_later(deadline_s * _LOOK_BEFORE, wait_on)

        timer = loop.call_later(deadline_s * _LOOK_BEFORE, wait_on)
        try:
            return await self._connections.acquire()
        finally:
            timer.cancel()

    async def _give_back_after(self, error: BaseException, session: Borrowed) -> None:
        if isinstance(error, SESSION_OVER):
            # Includes this one: an expired connection is closed when it is given back.
            await self._connections.expire_connections()
        elif not isinstance(error, asyncpg.PostgresError):
            self._abandon(session)
            return
        await self._connections.release(session)

    def _abandon(self, session: Borrowed) -> None:
        """Close a connection on which something still runs, without waiting for it here."""
        closing = asyncio.create_task(_cancel_and_close(session))
        self._abandoned.add(closing)
        closing.add_done_callback(self._abandoned.discard)


async def _cancel_and_close(session: Borrowed) -> None:
    """Have the server cancel what runs, lest a statement given up be committed much later."""
    with suppress(Exception):  # closed all the same
        await session.close(timeout=CANCEL_TIMEOUT_S)


class _Hosts:
    """The servers that an address names; each has a share of the time, for one may be silent."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsns = _one_host_each(dsn)
        self._name = name
        self._timeout_s = STATEMENT_TIMEOUT_S / len(self._dsns)

    async def connect(
        self, *_arguments: object, **_options: object
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Connect to the first that will do, beginning with the one that did last.

        The arguments are the pool's, which knows nothing that is not known here.
        """
        *others, last = self._dsns
        for other in others:
            with suppress(*_NEXT_HOST):
                return await self._connect(other)
        return await self._connect(last)

    async def _connect(self, dsn: str) -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(
            dsn,
            timeout=self._timeout_s,
            connection_class=_Connection,
            # Poolers take no other setting with the start of a session.
            server_settings={"application_name": self._name},
        )
        self._dsns = [dsn, *(other for other in self._dsns if other != dsn)]
        return connection


def _one_host_each(dsn: str) -> list[str]:
    """Split an address of several hosts; what is no URL is left to asyncpg."""
    parts = re.fullmatch(r"(\w+://(?:[^/?#]*@)?)([^/?#@]*,[^/?#@]*)((?:[/?#].*)?)", dsn, re.DOTALL)
    if parts is None:
        return [dsn]
    before, hosts, after = parts.groups()
    return [f"{before}{host}{after}" for host in hosts.split(",")]


class _Connection(asyncpg.Connection):
    """A connection whose closing takes no time, unless it is given some.

    asyncpg's pool closes expired connections politely and waits for the server's answer, which one
    that has stopped never gives. To Postgres the end of the stream says as much.
    """

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        if timeout is None:
            self.terminate()
        else:
            await super().close(timeout=timeout)


async def _keep_session(_connection: object) -> None:
    """Save the round trip of a reset: the request path leaves nothing behind in a session."""


@asynccontextmanager
async def open_pool(dsn: str, size: int, name: str = NAME) -> AsyncGenerator[Pool]:
    """Open the request path's pool; connections are made when first needed.

    Args:
        dsn: the database; of several hosts, the first that answers and fits is used.
        size: how many connections at most.
        name: what the server calls them in `pg_stat_activity`.

    """
    connections = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        max_inactive_connection_lifetime=IDLE_CONNECTION_S,
        connect=_Hosts(dsn, name).connect,
        connection_class=_Connection,
        reset=_keep_session,
    )
    pool = Pool(connections)
    try:
        yield pool
    finally:
        await pool.close()


def create_engine(dsn: str, timeout_s: float | None = MANAGEMENT_TIMEOUT_S) -> AsyncEngine:
    """Create the engine of everything that is not the request path.

    Args:
        dsn: the database.
        timeout_s: how long a statement may take; None for as long as it takes, as in migrations.

    """

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=timeout_s,
            server_settings={"application_name": NAME},
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_pre_ping=True,
        # An error is logged, and what it was given may be the hash of a password.
        hide_parameters=True,
    )


@asynccontextmanager
async def open_sessions(
    dsn: str, timeout_s: float = MANAGEMENT_TIMEOUT_S
) -> AsyncGenerator[Sessions]:
    """Open a factory of sessions; transactions are explicit: `async with sessions.begin()`.

    Args:
        dsn: the database.
        timeout_s: how long a statement may take, or the look whether a connection still works.

    """
    engine = create_engine(dsn, timeout_s)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()
