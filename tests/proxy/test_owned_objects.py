"""Objects of the upstream: their maker may use them, and for others they do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.upstream import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

MADE = b'{"id": "conv_1", "object": "conversation", "metadata": {}, "created_at": 1}'
DELETED = b'{"id": "conv_1", "object": "conversation.deleted", "deleted": true}'


@pytest.fixture
async def http(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1") as client,
    ):
        yield client


@pytest.fixture
async def people(pool: Pool) -> list[Holder]:
    return [await create_holder(pool, 100) for _ in range(2)]


async def make(http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder) -> None:
    upstream.script(Response(body=MADE))
    made = await http.post("/conversations", json={}, headers=holder.headers)
    assert made.content == MADE


async def test_its_maker_uses_it_and_to_others_it_is_one_that_nobody_has(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    maker, other = people
    await make(http, upstream, maker)
    upstream.script(Response(body=MADE))
    own = await http.get("/conversations/conv_1", headers=maker.headers)
    theirs = await http.get("/conversations/conv_1", headers=other.headers)
    nobodys = await http.get("/conversations/conv_2", headers=maker.headers)
    assert (own.status_code, own.content) == (200, MADE)
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "not_found")
    assert nobodys.content == theirs.content.replace(b"conv_1", b"conv_2")
    assert len(upstream.requests) == 2


async def test_what_is_deleted_is_nobodys_from_then_on(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    maker, _ = people
    await make(http, upstream, maker)
    upstream.script(Response(status=500, body=b"{}"), Response(body=DELETED))
    path, headers = "/conversations/conv_1", maker.headers
    assert (await http.delete(path, headers=headers)).status_code == 500
    assert (await http.delete(path, headers=headers)).content == DELETED
    assert (await http.get(path, headers=headers)).status_code == 404
    assert len(upstream.requests) == 3


async def test_a_reference_in_a_body_must_be_the_callers(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    maker, other = people
    await make(http, upstream, maker)
    question = {"model": "gpt-5.4-mini", "input": "Hello", "conversation": "conv_1"}
    upstream.script(Response(body=b'{"object": "response.input_tokens", "input_tokens": 9}'))
    own = await http.post("/responses/input_tokens", json=question, headers=maker.headers)
    theirs = await http.post("/responses/input_tokens", json=question, headers=other.headers)
    assert own.json()["input_tokens"] == 9
    assert (theirs.status_code, theirs.json()["error"]["param"]) == (404, "conversation")
    assert len(upstream.requests) == 2
