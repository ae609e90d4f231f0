"""Connections to Postgres: the pool of the request path, sessions for everything else.

One DSN, read by asyncpg in both cases, so that a URL means the same to both. A connection is
borrowed for one statement; nothing here is ever held while bytes flow.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Sessions: TypeAlias = async_sessionmaker[AsyncSession]

CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 5.0

UNAVAILABLE = (
    OSError,  # refused, reset, and TimeoutError
    asyncpg.InterfaceError,  # the pool or the connection is closed or in a wrong state
    asyncpg.InternalClientError,  # the connection was lost between two of the driver's own steps
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, cancelled
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.ReadOnlySQLTransactionError,  # connected to a standby
    asyncpg.InvalidAuthorizationSpecificationError,  # the password is being changed
    asyncpg.InvalidCatalogNameError,  # no such database, as while one is restored
    asyncpg.UndefinedTableError,  # not migrated yet
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""What means that the database cannot do it now, and not that the statement is wrong."""


async def _keep_session(_connection: object) -> None:
    """Save the round trip of a reset: the request path leaves nothing behind in a session."""


@asynccontextmanager
async def open_pool(dsn: str, size: int) -> AsyncGenerator[Pool]:
    """Open the request path's pool; connections are made when first needed."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        reset=_keep_session,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings={"application_name": "tokenbalance"},
    )
    async with pool:
        yield pool


def create_engine(dsn: str) -> AsyncEngine:
    """Create the engine of everything that is not the request path."""

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"application_name": "tokenbalance"},
        )

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True)


@asynccontextmanager
async def open_sessions(dsn: str) -> AsyncGenerator[Sessions]:
    """Open a factory of sessions; transactions are explicit: `async with sessions.begin()`."""
    engine = create_engine(dsn)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()
