"""SQLAlchemy's side: engines and sessions for everything that is not the request path."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from tokenbalance.database.connections.pool import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


Session: TypeAlias = AsyncSession
"""A transaction, for callers that pass it on and build no statements themselves."""
Sessions: TypeAlias = async_sessionmaker[AsyncSession]

CONNECT_TIMEOUT_S: Final = 3.0
"""To open a connection."""
MANAGEMENT_TIMEOUT_S: Final = 60.0
"""Of a statement, for commands and background work."""


def create_engine(dsn: str, timeout_s: float | None = MANAGEMENT_TIMEOUT_S) -> AsyncEngine:
    """Create the engine of everything that is not the request path.

    Args:
        dsn: the database.
        timeout_s: how long a statement may take; None for no limit, as in migrations.

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
        # Errors are logged, and a parameter may be the hash of a password.
        hide_parameters=True,
    )


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
