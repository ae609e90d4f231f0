"""The database that a command works on, and one transaction on it.

`DATABASE_URL` if it is set, else the embedded Postgres of the data folder: the server that a
running `serve` owns, or one that is started for as long as the command takes.

    DatabaseError
    |-- DatabaseMissing
    |-- DatabaseUnavailable
    `-- SchemaMissing
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from tokenbalance.cli.output import print_aside
from tokenbalance.cli.unknown_settings import warn_of_unknown_settings
from tokenbalance.database.connections import CONNECT_TIMEOUT_S, open_sessions
from tokenbalance.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.settings import Settings

T = TypeVar("T")


class DatabaseError(Exception):
    """The database cannot be used; the message is one line and contains no part of its URL."""


class DatabaseMissing(DatabaseError):
    """The data folder has no database, and the command may not create one."""


class DatabaseUnavailable(DatabaseError):
    """No connection can be made."""


class SchemaMissing(DatabaseError):
    """The database can be reached, but has no tables yet."""


@contextmanager
def open_database(
    settings: Settings, *, exclusive: bool = False, creates: bool = False
) -> Generator[str, None, None]:
    """Yield the DSN of a reachable database; an embedded one is migrated.

    Must be called from the main thread, outside of an event loop.

    Args:
        settings: decide which database.
        exclusive: own the embedded server, or fail; for the one process that keeps running. It
            creates the database if the data folder has none.
        creates: create it as well, with a warning: the folder may be a misspelled one.

    Raises:
        DatabaseMissing: the data folder has no database.
        DatabaseUnavailable: DATABASE_URL cannot be reached.
        EmbeddedPostgresError: the embedded server cannot be used.

    """
    warn_of_unknown_settings()
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        _ = asyncio.run(_has_schema(dsn))
        yield dsn
        return
    from tokenbalance.postgres import (  # noqa: PLC0415 - not on every platform
        EmbeddedPostgres,
        has_cluster,
    )

    is_new = not has_cluster(settings.data_dir)
    if is_new and not (exclusive or creates):
        raise DatabaseMissing(_missing(settings))
    with EmbeddedPostgres.start_or_attach(
        settings.data_dir, settings.postgres_bin_dir, exclusive=exclusive
    ) as server:
        # A server that another process owns was migrated by it, or is just now.
        if server.owned or not asyncio.run(_has_schema(server.dsn)):
            migrate_to_head(server.dsn)
        if is_new and server.owned and not exclusive:
            print_aside(f"warning: A new database was created in {settings.data_dir}")
        yield server.dsn


@contextmanager
def open_books(settings: Settings, *, creates: bool = False) -> Generator[str, None, None]:
    """Yield the DSN of a database with tables in it.

    Args:
        settings: decide which database.
        creates: as for `open_database`.

    Raises:
        SchemaMissing: DATABASE_URL has none yet.
        DatabaseMissing, DatabaseUnavailable, EmbeddedPostgresError: as `open_database`.

    """
    with open_database(settings, creates=creates) as dsn:
        require_schema(dsn)
        yield dsn


def require_schema(dsn: str) -> None:
    """Check that the database has tables.

    Raises:
        SchemaMissing: it has none yet.
        DatabaseUnavailable: it cannot be reached.

    """
    if not asyncio.run(_has_schema(dsn)):
        msg = "The database has no tables yet: run `tokenbalance migrate`"
        raise SchemaMissing(msg)


def transact(work: Callable[[AsyncSession], Awaitable[T]], *, creates: bool = False) -> T:
    """Run the work of a command in one transaction and commit it; `creates` as for `open_books`."""
    with open_books(load_settings(), creates=creates) as dsn:
        return asyncio.run(_transact(dsn, work))


def migrate_to_head(dsn: str) -> None:
    """Migrate a database to the newest schema.

    Raises:
        DatabaseUnavailable: it cannot be reached; the direct URL may differ from DATABASE_URL.

    """
    from tokenbalance.database.migrate import migrate  # noqa: PLC0415 - Alembic is slow to import

    _ = asyncio.run(_has_schema(dsn))
    migrate(dsn, print_aside)


async def _transact(dsn: str, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async with open_sessions(dsn) as sessions, sessions.begin() as session:
        return await work(session)


async def _has_schema(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
        try:
            found = await connection.fetch("SELECT WHERE to_regclass('accounts') IS NOT NULL")
        finally:
            await connection.close()
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(_reason(error)) from None
    return bool(found)


def _missing(settings: Settings) -> str:
    return (
        f"There is no database in {settings.data_dir}: start `tokenbalance serve` first, or check"
        " TOKENBALANCE_DATA_DIR and DATABASE_URL"
    )


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            reason = f"no response within {CONNECT_TIMEOUT_S:.0f} s"
        case OSError():
            reason = error.strerror or str(error)
        case asyncpg.PostgresError():
            reason = str(error)
        case _:
            # asyncpg's message about a URL that it cannot parse may quote any part of it.
            return "DATABASE_URL: is not a valid PostgreSQL URL"
    return f"Cannot connect to the database: {reason}"
