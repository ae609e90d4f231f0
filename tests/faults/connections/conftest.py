"""A server to disturb, a pool on it, and a session that holds a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.database_server import SIZE, Link, Server
from tests.support.postgres import start_cluster
from tokenbalance.database.connections import Pool, open_pool
from tokenbalance.postgres.connection import dsn_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Iterator,
    )


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, start_cluster(folder))
    server.move_in()
    yield server
    server.stop()


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """Another session: one that is in the way, or that looks on."""
    admin = await asyncpg.connect(dsn_of(server.address, "postgres"))
    yield admin
    await admin.close()


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[Pool]:
    async with open_pool(server.dsn, SIZE) as pool:
        await pool.execute("DROP TABLE IF EXISTS numbers; CREATE TABLE numbers (number int)")
        await pool.execute("INSERT INTO numbers VALUES (1)")
        yield pool


@pytest.fixture
async def locked(pool: Pool, server: Server) -> AsyncIterator[asyncpg.Connection]:
    """The session that has the table's lock, which every statement on it waits for."""
    assert await pool.fetchval("SELECT number FROM numbers") == 1
    session = await asyncpg.connect(server.dsn)
    await session.execute("BEGIN; LOCK TABLE numbers")
    yield session
    await session.close()


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    async with Link(server.address) as link:
        yield link
