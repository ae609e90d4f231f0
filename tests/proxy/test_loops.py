"""Several of us in a row, and one that has become its own upstream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support import postgres
from tests.support.books import Holder, create_holder, hold_states
from tests.support.chat import CHAT
from tests.support.product import serving
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres

HOP = b"x-tokenbalance-hop"


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100_000)


@pytest.fixture
async def elsewhere(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The database of another operator."""
    dsn = await postgres.clone(cluster, template)
    async with open_pool(dsn, 1) as pool:
        await pool.execute("UPDATE books SET id = gen_random_uuid()")
    yield dsn
    await postgres.drop(cluster, dsn)


@asynccontextmanager
async def client(url: str) -> AsyncGenerator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        yield http


async def test_a_request_that_comes_back_stops_at_the_first_hop(
    dsn: str, pool: Pool, product: str, upstream: ScriptedUpstream, holder: Holder
) -> None:
    async with (
        serving(dsn, f"{product}/v1", openai_api_key=holder.secret) as url,
        client(url) as http,
    ):
        response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 508
    assert response.json()["error"]["code"] == "upstream_loop"
    assert "OPENAI_BASE_URL" in response.json()["error"]["message"]
    assert response.headers["x-should-retry"] == "false"
    assert upstream.requests == []
    # Only where it came in first; the second time nobody was asked for a hold.
    assert await hold_states(pool, holder) == ["voided"]


async def test_a_request_that_comes_back_is_stopped_whatever_key_it_has(
    dsn: str, product: str, holder: Holder
) -> None:
    async with serving(dsn, f"{product}/v1") as url, client(url) as http:
        response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 508


async def test_those_of_other_operators_may_be_in_a_row(
    dsn: str, elsewhere: str, upstream: ScriptedUpstream, holder: Holder
) -> None:
    async with open_pool(elsewhere, 2) as their_pool:
        theirs = await create_holder(their_pool, 100_000)
    async with (
        serving(elsewhere, upstream.base_url) as their_url,
        serving(dsn, f"{their_url}/v1", openai_api_key=theirs.secret) as url,
        client(url) as http,
    ):
        response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 200
    (request,) = upstream.requests
    hops = [value for name, value in request.headers if name == HOP]
    assert len(hops) == len(set(hops)) == 2


async def test_a_request_that_comes_back_by_way_of_another_operator_is_stopped(
    dsn: str, elsewhere: str, product: str, upstream: ScriptedUpstream, holder: Holder
) -> None:
    async with open_pool(elsewhere, 2) as their_pool:
        theirs = await create_holder(their_pool, 100_000)
    async with (
        serving(elsewhere, f"{product}/v1", openai_api_key=holder.secret) as their_url,
        serving(dsn, f"{their_url}/v1", openai_api_key=theirs.secret) as url,
        client(url) as http,
    ):
        response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 508
    assert upstream.requests == []


async def test_the_upstream_is_not_told_which_books_these_are(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    (request,) = upstream.requests
    hop = request.header("x-tokenbalance-hop")
    assert hop
    assert str(await pool.fetchval("SELECT id FROM books")).replace("-", "") != hop
