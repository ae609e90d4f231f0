"""The migrations agree with the tables, and can be taken back and applied again."""

from __future__ import annotations

import asyncio

from alembic import command

from tokenbalance.database.migrate import alembic_config


async def test_migrations_agree_with_the_tables_and_can_be_taken_back(dsn: str) -> None:
    config = alembic_config(dsn)
    await asyncio.to_thread(command.check, config)
    await asyncio.to_thread(command.downgrade, config, "base")
    await asyncio.to_thread(command.upgrade, config, "head")
    await asyncio.to_thread(command.check, config)
