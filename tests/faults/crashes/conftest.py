"""Servers that are killed, and an installation for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.crashing import Servers
from tests.support.installation import GRANTED, LIMIT_S, Installation, plainly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


@pytest.fixture(scope="package")
async def all_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="package")
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
        yield client


@pytest.fixture
async def servers(all_servers: Servers) -> AsyncIterator[Servers]:
    yield all_servers
    await all_servers.discard()


@pytest.fixture
async def installation(
    dsn: str,
    pool: Pool,
    upstream: ScriptedUpstream,
    servers: Servers,
    client: httpx2.AsyncClient,
    tmp_path: Path,
) -> Installation:
    holder = await create_holder(pool, GRANTED)
    upstream.always(plainly)
    return Installation(dsn, pool, holder, upstream, servers, client, tmp_path)


@pytest.fixture
def short_leases(installation: Installation) -> None:
    installation.variables["TOKENBALANCE_LEASE_S"] = "1"
