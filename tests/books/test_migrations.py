"""The migrations agree with the tables, and can be taken back and applied again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from alembic import command

from tests.support.books import create_holder, placed
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.migrate import alembic_config
from tokenbalance.model import Hold, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool

BEFORE_HOLDS_WERE_COVERED: Final = "0009-1"
"""Relative to the revision that keeps what is held."""
BALANCE_TAKEN_FROM_AN_OPEN_HOLD: Final = (
    "INSERT INTO users (email) VALUES ('old@example.com')",
    "INSERT INTO accounts (user_id, balance, held) VALUES (1, 0, 80)",
    "INSERT INTO api_keys (account_id, prefix, secret_sha256) VALUES (1, 'p', sha256('p'))",
    """
    INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor)
    VALUES (1, 'grant', 100, 100, 'root')
    """,
    """
    INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, lease_until)
    VALUES (1, 'tb_1', 1, 80, '/chat/completions', now() + interval '60 s')
    """,
    """
    INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor)
    VALUES (1, 'adjustment', -100, 0, 'root')
    """,
)
BEFORE_TEAMS: Final = "0022-1"
BUDGETS_OF_A_KEY: Final = (
    "INSERT INTO users (email) VALUES ('old@example.com')",
    "INSERT INTO accounts (user_id) VALUES (1)",
    """
    INSERT INTO limits (account_id, subject, name, unit, period, amount)
    SELECT 1, subject, 'budget:' || name, 'credits', 'day', 1
      FROM (VALUES ('key:1', 'a'), ('key:1', 'b'), ('account', 'a')) budget (subject, name)
    """,
    """
    INSERT INTO api_keys (account_id, prefix, secret_sha256, limits)
    VALUES (1, 'p', sha256('p'), '{"tokens_per_day": 5, "bound_budgets": [2]}')
    """,
)


# SQLAlchemy's own reading of a check that is NOT VALID passes an argument that it does not know.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")
async def test_migrations_agree_with_the_tables_and_can_be_taken_back(dsn: str) -> None:
    config = alembic_config(dsn)
    await asyncio.to_thread(command.check, config)
    await asyncio.to_thread(command.downgrade, config, "base")
    await asyncio.to_thread(command.upgrade, config, "head")
    await asyncio.to_thread(command.check, config)


async def test_old_entries_that_took_what_was_held_are_excused_by_the_migration(
    dsn: str, pool: Pool
) -> None:
    config = alembic_config(dsn)
    await asyncio.to_thread(command.downgrade, config, BEFORE_HOLDS_WERE_COVERED)
    for statement in BALANCE_TAKEN_FROM_AN_OPEN_HOLD:
        await pool.execute(statement)
    await asyncio.to_thread(command.upgrade, config, "head")
    assert (await audit(pool)).violations == []
    assert await Book(pool).settle(Hold("tb_1", 1, 80), Usage(total=80))
    assert (await audit(pool)).violations == []

    # Only those: the books of a new version must not need it.
    running = await create_holder(pool, 50)
    _ = await placed(Book(pool), running, "tb_2", 50)
    await pool.execute("UPDATE accounts SET balance = 0 WHERE id = $1", running.account_id)
    await pool.execute(
        "INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
        " VALUES ($1, 'set', -50, 0, 'nobody')",
        running.account_id,
    )
    assert (await audit(pool)).violations == [
        "account 2: balance is 0, held is 50, the lowest balance allowed is 50"
    ]


async def test_what_only_superusers_change_stays_so_with_teams_and_without(
    dsn: str, pool: Pool
) -> None:
    config = alembic_config(dsn)
    await asyncio.to_thread(command.downgrade, config, BEFORE_TEAMS)
    for statement in BUDGETS_OF_A_KEY:
        await pool.execute(statement)
    of_key = "SELECT limits::text FROM api_keys"
    old = await pool.fetchval(of_key)
    await asyncio.to_thread(command.upgrade, config, "head")
    bound = await pool.fetch("SELECT id FROM limits WHERE is_bound ORDER BY id")
    assert [row["id"] for row in bound] == [2, 3]
    assert await pool.fetchval(of_key) == '{"tokens_per_day": 5}'
    assert await pool.fetchval("SELECT user_id FROM api_keys") == 1
    await asyncio.to_thread(command.downgrade, config, BEFORE_TEAMS)
    assert await pool.fetchval(of_key) == old
