"""Alembic's environment: one connection, one transaction, one lock."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import text

from tokenbalance.database.connections import create_engine
from tokenbalance.database.tables import Base
from tokenbalance.settings import plain_dsn

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Any constant will do, as long as all replicas use the same one.
MIGRATION_LOCK = 7_281_964_301


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


async def _migrate() -> None:
    engine = create_engine(_dsn(), timeout_s=None)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_migrate())
