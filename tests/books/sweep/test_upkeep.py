"""What the sweep cleans up: rows of dead waiters, and plans of small books."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import postgres
from tests.support.books import (
    placed,
)
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.settlements import Settlement
from tokenbalance.database import statements
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.sweeping import Process
    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres


async def test_waiters_of_dead_processes_are_forgotten_after_a_minute(
    pool: Pool, here: Process, holder: Holder
) -> None:
    for alive_s in (-61.0, -59.0, 3.0):
        await pool.execute(statements.ENTER, holder.account_id, 10, alive_s)
    await here.connect()
    await here.sweep._sweep()
    rows = await pool.fetch("SELECT alive_until > now() AS alive FROM waiters ORDER BY position")
    assert [row["alive"] for row in rows] == [False, True]


TOMBSTONES = """
INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint, lease_until)
SELECT $1, 'elsewhere' || n, $2, 0, '', now() + interval '1 hour' FROM generate_series(1, 3000) n
"""


ENDED = """
DELETE FROM open_holds WHERE amount = 0;
-- Otherwise the server counts them up to a minute later.
SELECT pg_stat_force_next_flush()
"""
DEAD = "SELECT pg_stat_get_dead_tuples('open_holds'::regclass)"


@pytest.fixture
async def dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """A database in which nobody has deleted anything."""
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


async def test_open_holds_are_vacuumed_after_a_few_thousand_requests(
    dsn: str, here: Process, holder: Holder
) -> None:
    await here.connect()
    await here.pool.execute("ALTER TABLE open_holds SET (autovacuum_enabled = false)")
    async with open_pool(dsn, 1) as one_session:
        await one_session.execute(TOMBSTONES, holder.account_id, holder.key_id)
        await one_session.execute(ENDED)
        assert await one_session.fetchval(DEAD) == 3000
        await here.sweep._sweep()
        assert await one_session.fetchval(DEAD) == 0


SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'open_holds'"


async def scans_of_a_settlement(pool: Pool, holder: Holder, request_id: str) -> int:
    """How often settling a hold reads all open holds."""
    hold = await placed(Book(pool), holder, request_id, 1)
    settlement = Settlement.of(hold, Usage({"input": 1}, total=1))
    async with pool.acquire() as session, session.transaction():
        before = await session.fetchval(SCANS)
        await session.fetch(statements.SETTLE, *settlement.arguments(), *settlement.trace)
        return int(await session.fetchval(SCANS)) - int(before)


@pytest.mark.direct_sessions
async def test_plans_that_small_books_have_outgrown_are_made_anew(
    dsn: str, here: Process, holder: Holder
) -> None:
    await here.connect()
    await here.pool.execute("ALTER TABLE open_holds SET (autovacuum_enabled = false)")
    async with open_pool(dsn, 1) as one_session:
        await one_session.execute("ANALYZE open_holds")
        small = [await scans_of_a_settlement(one_session, holder, f"r{n}") for n in range(8)]
        assert small[-1] == 1
        await here.sweep._sweep()
        assert await scans_of_a_settlement(one_session, holder, "still small") == 1
        await one_session.execute(TOMBSTONES, holder.account_id, holder.key_id)
        assert await scans_of_a_settlement(one_session, holder, "outgrown") == 1
        await here.sweep._sweep()
        assert await scans_of_a_settlement(one_session, holder, "made anew") == 0
    assert await here.pool.fetch(statements.OUTGROWN) == []
