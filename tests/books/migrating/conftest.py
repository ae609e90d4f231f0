"""Databases with books of version 1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import pytest
from alembic import command

from tests.support import postgres
from tests.support.old_books import OldBooks, write_every_kind_of_row
from tokenbalance.database.migrate import alembic_config
from tokenbalance.database.moving import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokenbalance.postgres import EmbeddedPostgres

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

VERSION_1: Final = "0011"


async def downgrade(dsn: str) -> None:
    """Move the books to version 1."""
    await asyncio.to_thread(command.downgrade, alembic_config(dsn), VERSION_1)


@pytest.fixture(scope="package")
async def old_template(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The name of a database that has every kind of row of version 1."""
    dsn = await postgres.clone(cluster, template)
    await downgrade(dsn)
    connection = await asyncpg.connect(dsn)
    await write_every_kind_of_row(OldBooks(connection))
    await connection.close()
    yield dsn.partition("?")[0].rpartition("/")[2]
    await postgres.drop(cluster, dsn)


@pytest.fixture
async def old_dsn(cluster: EmbeddedPostgres, old_template: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    dsn = await postgres.clone(cluster, old_template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture
async def connection(old_dsn: str) -> AsyncIterator[Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(old_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def old(connection: Connection) -> OldBooks:
    """What a server of the release before does there."""
    return OldBooks(connection)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "BATCH_ROWS", 17)
