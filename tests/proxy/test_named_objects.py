"""What responses name is their caller's, and recorded before its id passes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import orjson
import pytest

from tests.support.books import charges_of, create_holder
from tests.support.named_objects import CHAT, LIVING, RESPONSE, STORED, event, events_of
from tests.support.product import serving
from tests.support.upstream import Gate, Response, event_stream, json_response
from tokenbalance.openai import OPERATIONS, Surface
from tokenbalance.openai.families import READ
from tokenbalance.openai.operation import Answer, Examples, Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

QUESTION: dict[str, Any] = {"model": "gpt-5.4-mini", "input": "Hello", "max_output_tokens": 50}
CHAT_QUESTION: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 50,
}
THINGS = (
    Operation(
        "GET",
        "/things",
        READ,
        "Things",
        own_derived=("container_file:$.data[].id", "file:$.output[].results[].file_id"),
        answer=Answer.EVENTS,
        own_examples=Examples({}, {}),
    ),
)


@pytest.fixture
async def http(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    surface = Surface((*OPERATIONS, *THINGS))
    async with (
        serving(dsn, upstream.base_url, surface) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30) as client,
    ):
        yield client


@pytest.fixture
async def maker(pool: Pool) -> Holder:
    return await create_holder(pool, 1_000_000)


async def owned(pool: Pool, holder: Holder) -> set[tuple[str, str]]:
    rows = await pool.fetch(
        "SELECT kind, object_id FROM objects WHERE account_id = $1 AND deleted_at IS NULL",
        holder.account_id,
    )
    return {(row["kind"], row["object_id"]) for row in rows}


async def until_owned(pool: Pool, holder: Holder, expected: set[tuple[str, str]]) -> None:
    async with asyncio.timeout(30):
        while await owned(pool, holder) != expected:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("store", [True, False])
async def test_a_document_is_its_callers_with_all_that_it_names(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder, store: bool
) -> None:
    upstream.script(json_response(RESPONSE))
    asked = {**QUESTION, "store": store}
    got = await http.post("/responses", json=asked, headers=maker.headers)
    assert got.status_code == 200
    assert await owned(pool, maker) == (STORED | LIVING if store else LIVING)
    tokens = "SELECT tokens FROM objects WHERE object_id = 'resp_1'"
    assert await pool.fetchval(tokens) == (24 if store else None)


@pytest.mark.parametrize("store", [True, False])
async def test_a_chat_is_its_callers_if_it_is_stored(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder, store: bool
) -> None:
    upstream.script(json_response(CHAT))
    asked = {**CHAT_QUESTION, "store": store}
    _ = await http.post("/chat/completions", json=asked, headers=maker.headers)
    assert await owned(pool, maker) == ({("chat_completion", "chatcmpl-1")} if store else set())


async def test_a_document_that_is_too_long_to_be_kept_names_objects_at_both_ends(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    picture = {"type": "image_generation_call", "id": "ig_1", "result": "A" * (8 * 1024 * 1024)}
    long = {**RESPONSE, "output": [picture, *RESPONSE["output"]]}
    body = orjson.dumps(long)
    upstream.script(Response(body=[body[:100], body[100:-70], body[-70:-60], body[-60:]]))
    got = await http.post("/responses", json=QUESTION, headers=maker.headers)
    assert got.content == body
    assert await owned(pool, maker) == STORED | LIVING | {("item", "ig_1")}


async def test_a_stream_waits_until_its_response_is_the_callers(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    first, *others = events_of()
    gate = Gate()
    upstream.script(event_stream(first, gate, *others))
    asked = {**QUESTION, "stream": True}
    async with http.stream("POST", "/responses", json=asked, headers=maker.headers) as got:
        pieces = got.aiter_bytes()
        received = await anext(pieces)
        assert received == first
        assert await owned(pool, maker) == {("response", "resp_1")}
        gate.open()
        received += b"".join([piece async for piece in pieces])
    assert received == first + b"".join(others)
    assert await owned(pool, maker) == STORED | LIVING
    assert [charge["total"] for charge in await charges_of(pool, maker)] == [24]


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
async def test_a_stream_in_any_pieces_is_passed_on_and_recorded(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder, size: int
) -> None:
    stream = b"".join(events_of())
    upstream.script(event_stream(*(stream[at : at + size] for at in range(0, len(stream), size))))
    asked = {**QUESTION, "stream": True}
    got = await http.post("/responses", json=asked, headers=maker.headers)
    assert got.content == stream
    assert await owned(pool, maker) == STORED | LIVING


async def test_of_a_stream_that_broke_off_all_is_recorded_that_came(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    events = events_of()
    begun = b"".join(events[:4])
    upstream.script(Response(
        headers=(("content-type", "text/event-stream"),),
        body=[begun, events[4][:-9]],
        cut_after=len(begun) + len(events[4]) - 9,
    ))  # fmt: skip
    asked = {**QUESTION, "stream": True}
    got = await http.post("/responses", json=asked, headers=maker.headers)
    assert got.content.startswith(begun + b"data: ")
    assert b"upstream_incomplete" in got.content
    assert await owned(pool, maker) == {
        ("response", "resp_1"), ("item", "ci_1"), ("container", "cntr_1")
    }  # fmt: skip
    assert len(await charges_of(pool, maker)) == 1


async def test_a_client_that_leaves_has_what_it_made_all_the_same(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    first, *others = events_of()
    gate = Gate()
    upstream.script(event_stream(first, gate, *others))
    asked = {**QUESTION, "stream": True}
    async with http.stream("POST", "/responses", json=asked, headers=maker.headers) as got:
        _ = await anext(got.aiter_bytes())
    gate.open()
    await until_owned(pool, maker, STORED | LIVING)


async def test_a_failed_response_is_its_callers_although_it_costs_nothing(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    failed = {"id": "resp_1", "status": "failed", "output": [], "usage": None}
    created = {**failed, "status": "in_progress"}
    upstream.script(event_stream(
        event("response.created", response=created), event("response.failed", response=failed)
    ))  # fmt: skip
    asked = {**QUESTION, "stream": True}
    _ = await http.post("/responses", json=asked, headers=maker.headers)
    assert await owned(pool, maker) == {("response", "resp_1")}
    assert await charges_of(pool, maker) == []


async def test_free_documents_and_streams_name_objects_too(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    gate = Gate()
    document = {"data": [{"id": "cfile_7"}]}
    stream = events_of()
    upstream.script(json_response(document), event_stream(*stream[:-1], gate, stream[-1]))
    assert (await http.get("/things", headers=maker.headers)).json() == document
    assert await owned(pool, maker) == {("container_file", "cfile_7")}
    async with http.stream("GET", "/things", headers=maker.headers) as got:
        pieces = got.aiter_bytes()
        received = b""
        while stream[-2] not in received:
            received += await anext(pieces)
        gate.open()
        received += b"".join([piece async for piece in pieces])
    assert received == b"".join(stream)
    assert await owned(pool, maker) == {("container_file", "cfile_7"), ("file", "file-2")}
    assert await charges_of(pool, maker) == []
