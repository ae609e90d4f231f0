"""What lies between us and the server, and so which statements a session may keep.

A pooler in transaction mode gives each transaction of a session another server. Statements that
were prepared on one are unknown on the next, or belong to somebody else there, unless the pooler
keeps them itself (PgBouncer from 1.21 on). Where they cannot be relied upon, every statement is
anonymous: it is parsed and planned again each time, and works with every pooler.

Owns `asyncpg.connect`: nothing else opens a session with the database of the product.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from secrets import token_hex
from typing import TYPE_CHECKING, Final, TypeVar, cast

import asyncpg

if TYPE_CHECKING:
    from typing import TypeAlias

    Session: TypeAlias = asyncpg.Connection[asyncpg.Record]

S = TypeVar("S", bound="asyncpg.Connection[asyncpg.Record]")

NAME: Final = "tokenbalance"
"""The `application_name` of our connections."""

_STATEMENTS_KEPT: Final = 100
"""For each session, where it may keep statements: asyncpg's own default."""
_ATTEMPTS: Final = 3
_PROBE_S: Final = 1.0
_PROBE: Final = "SELECT pg_backend_pid()"
_PROBE_NAME: Final = "tokenbalance_probe_"


class Route(Enum):
    """The way to the server."""

    DIRECT = "direct"
    KEEPING = "a pooler that keeps prepared statements"
    FORGETFUL = "a pooler that may forget prepared statements"

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler answers in the server's place."""
        return self is not Route.DIRECT

    @property
    def keeps_statements(self) -> bool:
        """Whether a session may prepare a statement in one transaction and use it in another."""
        return self is not Route.FORGETFUL


_known: dict[str, Route] = {}
"""By DSN. A process finds out once: who replaces a pooler closes its sessions, which is an error
like any other, and a statement that is gone ends the session too (`failures`)."""


async def route_to(dsn: str, timeout_s: float) -> Route:
    """Find the way to the server of a DSN, once in a process.

    Args:
        dsn: the database; one host.
        timeout_s: to open a connection.

    Raises:
        OSError: the server cannot be reached in time.
        asyncpg.PostgresError: it refuses the session.

    """
    route = _known.get(dsn)
    if route is None:
        first = await _open(dsn, timeout_s)
        try:
            route = _known[dsn] = await _route_of(first, dsn, timeout_s)
        finally:
            first.terminate()
    return route


async def connect(
    dsn: str,
    *,
    timeout_s: float,
    name: str = NAME,
    statement_timeout_s: float | None = None,
    connection_class: type[S] = asyncpg.Connection,
) -> S:
    """Open a session that keeps as many statements as the way to its server allows.

    Args:
        dsn: the database; one host, unless the caller does not mind which one it gets.
        timeout_s: to open a connection.
        name: the `application_name`.
        statement_timeout_s: how long a statement may take; None for no limit.
        connection_class: asyncpg's or one made from it.

    Raises:
        OSError, asyncpg.PostgresError: as for `route_to`.

    """
    route = await route_to(dsn, timeout_s)
    return await asyncpg.connect(
        dsn,
        timeout=timeout_s,
        command_timeout=statement_timeout_s,
        connection_class=connection_class,
        statement_cache_size=_STATEMENTS_KEPT if route.keeps_statements else 0,
        # Poolers accept no other setting at the start of a session.
        server_settings={"application_name": name},
    )


async def _route_of(first: Session, dsn: str, timeout_s: float) -> Route:
    if cast("int", await first.fetchval(_PROBE)) == first.get_server_pid():
        return Route.DIRECT
    # A pooler invents the process id by which a client cancels its statements.
    second = await _open(dsn, timeout_s)
    try:
        async with asyncio.timeout(_PROBE_S):
            return await _pooled(first, second)
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return Route.FORGETFUL
    finally:
        second.terminate()


async def _pooled(first: Session, second: Session) -> Route:
    """Prepare a statement, let somebody else take the server that has it, and use it again.

    A pooler gives the server that became idle last to the next client, so the second session nearly
    always gets the right one. If it does not, nothing is known: then statements are anonymous,
    which is never wrong. That includes session mode, where no server is shared.
    """
    # Older poolers leave statements of earlier processes on their servers, so nobody has this name.
    statement = await first.prepare(_PROBE, name=_PROBE_NAME + token_hex(8))
    for _ in range(_ATTEMPTS):
        server = cast("int", await statement.fetchval())
        async with second.transaction():
            if cast("int", await second.fetchval(_PROBE)) == server:
                _ = cast("int", await statement.fetchval())
                return Route.KEEPING
    return Route.FORGETFUL


async def _open(dsn: str, timeout_s: float) -> Session:
    return await asyncpg.connect(
        dsn, timeout=timeout_s, statement_cache_size=0, server_settings={"application_name": NAME}
    )
