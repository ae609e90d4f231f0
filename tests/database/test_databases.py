"""Tests may rely on what they are given: a database as good as new, whoever had it before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support import postgres
from tests.support.books import create_holder, placed
from tests.support.databases import Databases
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokenbalance.postgres import EmbeddedPostgres

TABLES = """
    SELECT relname, relkind FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') ORDER BY relname
"""
SETTING = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database());
    END $$
"""
MANY = """
    INSERT INTO waiters (account_id, wanted, alive_until)
    SELECT 1, 1, now() FROM generate_series(1, 20000)
"""


async def contents(dsn: str) -> list[tuple[str, list[asyncpg.Record]]]:
    """Every row, and where every sequence is."""
    connection = await asyncpg.connect(dsn)
    try:
        found: list[tuple[str, list[asyncpg.Record]]] = []
        for name, kind in await connection.fetch(TABLES):
            columns = "*" if kind == b"r" else "last_value, is_called"
            rows = await connection.fetch(f"SELECT {columns} FROM {name}")  # noqa: S608 - of the catalog
            found.append((name, rows))
        return found
    finally:
        await connection.close()


@pytest.fixture
async def given(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[Databases]:
    """Databases of the test's own, of which the last one is dropped."""
    databases = Databases(cluster, template)
    yield databases
    await postgres.drop(cluster, await databases.take())


async def test_a_database_with_rows_is_given_again_without_them(given: Databases) -> None:
    dsn = await given.take()
    new = await contents(dsn)
    async with open_pool(dsn, 2) as pool:
        _ = await placed(Book(pool), await create_holder(pool, 100), "a", 1)
        await pool.execute("UPDATE books SET id = gen_random_uuid(), holds_covered_after = 7")
        await pool.execute("UPDATE usage_summed SET until = now()")
        left = await asyncpg.connect(dsn)
        await left.execute("BEGIN; UPDATE users SET email = 'left@example.com'")
        await given.give_back(dsn)
    assert left.is_closed()
    assert await given.take() == dsn
    assert await contents(dsn) == new
    await given.give_back(dsn)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE ledger DISABLE TRIGGER ALL",
        "ALTER TABLE open_holds SET (autovacuum_enabled = false)",
        "ALTER TABLE users ALTER email SET DEFAULT 'x'",
        "ALTER TABLE users ALTER email DROP NOT NULL",
        "ALTER TABLE accounts DROP CONSTRAINT {check}",
        "ALTER SEQUENCE users_id_seq INCREMENT 2",
        "DROP INDEX {index}",
        "DROP TABLE waiters",
        "CREATE TABLE more (number int)",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql RETURN 1",
        SETTING,
        MANY,
    ],
)
async def test_a_database_with_anything_else_is_not(given: Databases, change: str) -> None:
    dsn = await given.take()
    connection = await asyncpg.connect(dsn)
    check = await connection.fetchval(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'accounts'::regclass AND contype = 'c'"
    )
    index = await connection.fetchval(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisunique LIMIT 1"
        " OFFSET (SELECT count(*) FROM pg_index WHERE NOT indisunique) - 1"
    )
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(change.format(check=check, index=index))
    await connection.close()
    await given.give_back(dsn)
    another = await given.take()
    assert another != dsn
    await given.give_back(another)
