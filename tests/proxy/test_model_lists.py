"""The list of models: asked for once a minute, whoever wants it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.clock import Clock
from tests.support.product import serving
from tests.support.upstream import Gate, Response, ScriptedUpstream
from tokenbalance.proxy import model_lists

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

LIST = b'{ "object":"list",\n "data": [ {"id":"gpt-4o"} ]}'


@asynccontextmanager
async def client_of(
    dsn: str, upstream: ScriptedUpstream, **settings: Any
) -> AsyncGenerator[httpx2.AsyncClient]:
    settings = {"models_copy_s": 60, **settings}
    async with (
        serving(dsn, upstream.base_url, **settings) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        yield http


@pytest.fixture
async def people(pool: Pool) -> list[Holder]:
    return [await create_holder(pool, 100) for _ in range(3)]


async def models(http: httpx2.AsyncClient, holder: Holder, **headers: str) -> httpx2.Response:
    return await http.get("/v1/models", headers={**holder.headers, **headers})


async def test_a_second_request_gets_the_same_bytes_and_how_old_they_are(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    headers = [("content-type", "application/json"), ("x-request-id", "req_1")]
    upstream.script(Response(headers=headers, body=LIST))
    async with client_of(dsn, upstream) as http:
        first = await models(http, people[0])
        second = await models(http, people[1], **{"user-agent": "other", "traceparent": "x"})
    assert first.content == second.content == LIST
    assert second.headers["content-type"] == "application/json"
    assert "age" not in first.headers
    assert second.headers["age"] == "0"
    assert (first.headers["x-request-id"], second.headers.get("x-request-id")) == ("req_1", None)
    assert len(upstream.requests) == 1


async def test_only_who_has_a_key_gets_the_copy(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    async with client_of(dsn, upstream) as http:
        assert (await models(http, people[0])).status_code == 200
        refused = await http.get("/v1/models", headers={"authorization": "Bearer sk-tb-wrong"})
    assert refused.status_code == 401


async def test_what_could_change_the_list_is_asked_for_separately(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    async with client_of(dsn, upstream, request_headers=("x-own",)) as http:
        for headers in ({}, {"accept": "text/plain"}, {"openai-beta": "a"}, {"x-own": "b"}):
            for _ in range(2):
                assert (await models(http, people[0], **headers)).status_code == 200
        for _ in range(2):
            response = await http.get("/v1/models/gpt-4o", headers=people[0].headers)
            assert response.status_code == 200
    assert len(upstream.requests) == 4 + 2


async def test_requests_at_once_share_one_fetch_even_if_the_first_leaves(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    gate = Gate()
    upstream.script(Response(body=[gate, LIST]))
    async with client_of(dsn, upstream, on_disconnect="cancel") as http:
        first = asyncio.create_task(models(http, people[0]))
        await upstream.received(1)
        others = [asyncio.create_task(models(http, holder)) for holder in people]
        _ = first.cancel()
        gate.open()
        assert {response.content for response in await asyncio.gather(*others)} == {LIST}
    assert len(upstream.requests) == 1


async def test_a_copy_is_used_for_a_minute_and_not_beyond_when_the_upstream_fails(
    dsn: str,
    upstream: ScriptedUpstream,
    people: list[Holder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(model_lists, "time", clock)
    upstream.script(Response(body=LIST), Response(500, body=b"{}"), Response(body=b'{"data":[]}'))
    async with client_of(dsn, upstream) as http:
        assert (await models(http, people[0])).content == LIST
        clock.now_s += 59.5
        late = await models(http, people[0])
        assert (late.content, late.headers["age"]) == (LIST, "59")
        clock.now_s += 1
        assert (await models(http, people[0])).status_code == 500
        assert (await models(http, people[0])).json() == {"data": []}
    assert len(upstream.requests) == 3


async def test_a_fetch_that_breaks_off_is_told_and_forgotten(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    upstream.script(Response(body=LIST, cut_after=5), Response(body=LIST))
    async with client_of(dsn, upstream) as http:
        assert (await models(http, people[0])).status_code == 502
        assert (await models(http, people[0])).content == LIST


async def test_few_copies_are_kept_and_none_that_is_long(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_lists, "COPIES_MAX", 2)
    async with client_of(dsn, upstream) as http:
        for accept in ("a/a", "b/b", "c/c", "c/c", "b/b", "a/a"):
            _ = await models(http, people[0], accept=accept)
        assert len(upstream.requests) == 4
        monkeypatch.setattr(model_lists, "COPY_BYTES_MAX", 4)
        upstream.always(Response(body=LIST))
        for _ in range(2):
            _ = await models(http, people[0], accept="d/d")
    assert len(upstream.requests) == 6


async def test_by_setting_every_request_is_passed_on(
    dsn: str, upstream: ScriptedUpstream, people: list[Holder]
) -> None:
    async with client_of(dsn, upstream, models_copy_s=0) as http:
        for _ in range(2):
            assert "age" not in (await models(http, people[0])).headers
    assert len(upstream.requests) == 2
