"""SQLAlchemy's side: engines and sessions for everything that is not the request path."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.util import await_only

from tokenbalance.database.connections.routes import connect, route_to

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import asyncpg
    from sqlalchemy.engine.interfaces import DBAPIConnection


Session: TypeAlias = AsyncSession
"""A transaction, for callers that pass it on and build no statements themselves."""
Sessions: TypeAlias = async_sessionmaker[AsyncSession]

CONNECT_TIMEOUT_S: Final = 3.0
"""To open a connection."""
MANAGEMENT_TIMEOUT_S: Final = 60.0
"""Of a statement, for commands and background work."""

_ANONYMOUS: Final[Mapping[str, object]] = {
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}
"""SQLAlchemy's adapter prepares every statement; with an empty name, asyncpg does it again."""


class _Adapter(Protocol):
    """The part of SQLAlchemy's adapter for asyncpg that opens connections."""

    def connect(self, **options: object) -> DBAPIConnection: ...


def create_engine(dsn: str, timeout_s: float | None = MANAGEMENT_TIMEOUT_S) -> AsyncEngine:
    """Create the engine of everything that is not the request path.

    Args:
        dsn: the database.
        timeout_s: how long a statement may take; None for no limit, as in migrations.

    """

    async def open_session() -> asyncpg.Connection[asyncpg.Record]:
        return await connect(dsn, timeout_s=CONNECT_TIMEOUT_S, statement_timeout_s=timeout_s)

    def create() -> DBAPIConnection:
        # What `async_creator` does, but it leaves no room for these arguments.
        route = await_only(route_to(dsn, CONNECT_TIMEOUT_S))
        adapter = cast("_Adapter", cast("object", engine.sync_engine.dialect.dbapi))
        return adapter.connect(
            async_creator_fn=open_session, **({} if route.keeps_statements else _ANONYMOUS)
        )

    engine = create_async_engine(
        "postgresql+asyncpg://",
        creator=create,
        pool_pre_ping=True,
        # Errors are logged, and a parameter may be the hash of a password.
        hide_parameters=True,
    )
    return engine


@asynccontextmanager
async def open_sessions(
    dsn: str, timeout_s: float = MANAGEMENT_TIMEOUT_S
) -> AsyncGenerator[Sessions]:
    """Open a factory of sessions; transactions are explicit: `async with sessions.begin()`.

    Args:
        dsn: the database.
        timeout_s: how long a statement may take, or the ping that checks an idle connection.

    """
    engine = create_engine(dsn, timeout_s)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()
