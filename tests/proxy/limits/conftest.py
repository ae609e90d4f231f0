"""One product for all tests of limits: every test has a key of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support import postgres
from tests.support.product import serving
from tests.support.upstream import ScriptedUpstream
from tokenbalance.database.connections import open_pool, open_sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.postgres import EmbeddedPostgres


@pytest.fixture(scope="package")
async def shared_dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="package")
async def pool(shared_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(shared_dsn, size=5) as pool:
        yield pool


@pytest.fixture(scope="package")
async def sessions(shared_dsn: str) -> AsyncIterator[Sessions]:
    async with open_sessions(shared_dsn) as sessions:
        yield sessions


@pytest.fixture(scope="package")
async def shared_upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """The upstream, which was asked for nothing yet."""
    shared_upstream.forget()
    yield shared_upstream
    shared_upstream.always(None)


@pytest.fixture(scope="package")
async def product(shared_dsn: str, shared_upstream: ScriptedUpstream) -> AsyncIterator[str]:
    async with serving(shared_dsn, shared_upstream.base_url) as url:
        yield url


@pytest.fixture(scope="package")
async def http(product: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        yield client
