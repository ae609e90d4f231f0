"""The few things that the supervisor asks its server, through asyncpg.

Blocking, in a thread of its own: the supervisor starts before there is an event loop, and test
fixtures start it while one runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import asyncpg

from tokenbalance.postgres.socket_folder import PORT

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

DATABASE = "tokenbalance"
USER = "postgres"

_TIMEOUT_S = 5.0
_NOT_YET = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
)

_Result = TypeVar("_Result")


def dsn_of(socket_folder: Path, database: str = DATABASE) -> str:
    """Build a DSN for asyncpg and SQLAlchemy; the port is in it, so PGPORT cannot interfere."""
    return f"postgresql://{USER}@/{database}?host={quote(str(socket_folder))}&port={PORT}"


def can_connect(socket_folder: Path, database: str = DATABASE) -> bool:
    """Whether the server answers and has the database."""
    return _wait_for(_can_connect(dsn_of(socket_folder, database)))


def ensure_database(socket_folder: Path) -> None:
    """Create our database if it does not exist."""
    _wait_for(_ensure_database(dsn_of(socket_folder, "postgres")))


async def _can_connect(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S)
    except _NOT_YET:
        return False
    await connection.close()
    return True


async def _ensure_database(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=_TIMEOUT_S)
    try:
        exists = "SELECT FROM pg_database WHERE datname = $1"
        if await connection.fetchrow(exists, DATABASE) is None:
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                _ = await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


def _wait_for(question: Coroutine[object, object, _Result]) -> _Result:
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, question).result()
