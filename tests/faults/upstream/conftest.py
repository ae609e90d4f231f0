"""One product with one upstream and one database; each test has an account of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import postgres
from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.upstream import (
    Gate,
    ScriptedUpstream,
)
from tests.support.upstream_faults import BALANCE
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import open_pool
from tokenbalance.wire.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres
    from tokenbalance.wire.upstream import UpstreamResponse


@pytest.fixture(scope="package")
async def dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """One database for all of them, as each has a holder of its own."""
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="package")
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(dsn, size=5) as pool:
        yield pool


@pytest.fixture(scope="package")
async def the_upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="package")
async def product(dsn: str, the_upstream: ScriptedUpstream) -> AsyncIterator[str]:
    async with serving(dsn, the_upstream.base_url) as url:
        yield url


@pytest.fixture
def upstream(the_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The one upstream, without what it remembers of the test before."""
    the_upstream.requests.clear()
    return the_upstream


@pytest.fixture(autouse=True)
async def books_are_right(pool: Pool) -> AsyncIterator[None]:
    """After every test here: nothing is open and the audit finds nothing."""
    yield
    async with asyncio.timeout(10):
        while (report := await audit(pool)).open_holds:
            await asyncio.sleep(0.01)
    assert report.violations == []


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, BALANCE)


@pytest.fixture
def head_arrived(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate that opens when the product has the head of an answer."""
    gate = Gate()
    send = Upstream.send

    async def sending(upstream: Upstream, *request: Any) -> UpstreamResponse:
        response = await send(upstream, *request)
        gate.open()
        return response

    monkeypatch.setattr(Upstream, "send", sending)
    return gate
