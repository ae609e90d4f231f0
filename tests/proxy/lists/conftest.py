"""The product with lists of every kind, one for all tests of lists; and who asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support import postgres
from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.stored_objects import LISTS
from tests.support.upstream import Response, ScriptedUpstream
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
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
async def shared_upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="package")
async def product(shared_dsn: str, shared_upstream: ScriptedUpstream) -> AsyncIterator[str]:
    async with serving(shared_dsn, shared_upstream.base_url, LISTS, free_per_minute=0) as url:
        yield f"{url}/v1"


@pytest.fixture
def upstream(shared_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The upstream, which was asked for nothing yet and has nothing."""
    shared_upstream.forget()
    shared_upstream.always(Response(status=500, body=b"{}"))
    return shared_upstream


@pytest.fixture(scope="package")
async def client(product: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        yield client


@pytest.fixture
async def maker(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


@pytest.fixture
async def http(client: httpx2.AsyncClient, maker: Holder) -> httpx2.AsyncClient:
    """A client with the maker's key."""
    client.headers.update(maker.headers)
    return client
