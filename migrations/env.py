"""Alembic's environment: one migration at a time, in one transaction.

A migration may end that transaction, to work in many; the lock that makes others wait has one of
its own. Servers of an earlier version take another lock, so they can start while a long migration
runs: they find the schema that they know, and have nothing to do.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tokenbalance.database.connections import create_engine
from tokenbalance.database.tables import Base
from tokenbalance.settings import plain_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# Any constants will do, as long as all replicas use the same ones.
MIGRATION_LOCK = 7_281_964_301
"""Of the schema up to revision 0011, for one transaction."""
TURN_LOCK = 7_281_964_302
"""Of everything that one process migrates."""
_TRY_AGAIN_S = 0.2


def _dsn() -> str:
    given = context.config.attributes.get("dsn")
    if given is not None:
        return str(given)
    url = os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL")
    if not url:
        msg = "set DATABASE_URL, or use `tokenbalance migrate` for the embedded Postgres"
        raise SystemExit(msg)
    return plain_dsn(url)


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        # Replicas that start at the same time take turns; the transaction ends the lock.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


@asynccontextmanager
async def _turn(engine: AsyncEngine) -> AsyncGenerator[None]:
    """Wait until no other process migrates, and keep others waiting.

    The lock belongs to an idle transaction of its own, which works through a pooler as well. It is
    tried again and again: a statement that waits would keep the old versions of all rows alive.
    """
    async with engine.connect() as connection:
        while True:
            await connection.execute(
                text(
                    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN"
                    " ('idle_in_transaction_session_timeout', 'transaction_timeout')"
                )
            )
            taken = await connection.execute(
                text("SELECT 1 WHERE pg_try_advisory_xact_lock(:key)"), {"key": TURN_LOCK}
            )
            if taken.all():
                break
            await connection.rollback()
            await asyncio.sleep(_TRY_AGAIN_S)
        await _give_up_snapshot(connection)
        yield
        # What was migrated is committed, whatever became of a connection that was idle for long.
        with suppress(DBAPIError):
            await connection.rollback()


async def _give_up_snapshot(connection: AsyncConnection) -> None:
    """Let go of what the last statement saw, which its transaction keeps: a statement in text does.

    Otherwise an index that is built concurrently would wait for this transaction for ever.
    """
    session = (await connection.get_raw_connection()).driver_connection
    if session is not None:
        await session.execute("SELECT")


async def _migrate() -> None:
    engine = create_engine(_dsn(), timeout_s=None)
    try:
        async with _turn(engine), engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_migrate())
