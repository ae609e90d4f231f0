"""The DSN, the database in it, and its clones."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.embedded import fetch
from tests.support.postgres import clone, drop, make_template, start_cluster
from tokenbalance.postgres import (
    EmbeddedPostgres,
)

if TYPE_CHECKING:
    from pathlib import Path


async def test_asyncpg_and_sqlalchemy_read_the_address_whatever_the_environment_says(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGPORT": "1",
        "PGHOST": "nowhere",
        "PGUSER": "x",
        "PGDATABASE": "x",
    }.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        query = "SELECT current_user || ' ' || current_database() || ' ' || lower('Ä')"
        assert await fetch(server.dsn, query) == "postgres tokenbalance ä"
        engine = create_async_engine(re.sub("^postgresql", "postgresql+asyncpg", server.dsn))
        async with engine.connect() as connection:
            assert await connection.scalar(text(query)) == "postgres tokenbalance ä"
        await engine.dispose()


async def test_a_missing_database_is_made_again(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        _ = await fetch(server.dsn_of("postgres"), "DROP DATABASE tokenbalance")
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        assert await fetch(server.dsn, "SELECT current_database()") == "tokenbalance"


async def test_writes_are_durable_unless_told_otherwise(data: Path) -> None:
    for durable, setting in ((True, "on"), (False, "off")):
        with EmbeddedPostgres.start_or_attach(data, durable=durable) as server:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert await fetch(server.dsn, f"SHOW {name}") == setting


async def test_a_cloned_database_is_the_templates_equal_and_its_own(data: Path) -> None:
    def migrate(dsn: str) -> None:
        _ = asyncio.run(fetch(dsn, "CREATE TABLE here AS SELECT 1 AS n"))

    with start_cluster(data.parent) as cluster:
        template = await make_template(cluster, migrate)
        first, second = await clone(cluster, template), await clone(cluster, template)
        _ = await fetch(first, "UPDATE here SET n = 2")
        assert await fetch(first, "SELECT n FROM here") == 2
        assert await fetch(second, "SELECT n FROM here") == 1
        await drop(cluster, first)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            _ = await fetch(first, "SELECT 1")
