"""What an answer says of its own outcome decides its charge, whole or streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, chunk, content
from tests.support.upstream import Gate, Response, ScriptedUpstream, event_stream, json_response

if TYPE_CHECKING:
    import httpx2

    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json

RESPONSE: dict[str, Any] = {"model": "gpt-4o-mini", "input": "Hello there"}
EMBEDDING: dict[str, Any] = {"model": "text-embedding-3-small", "input": "some words"}
ERROR: Json = {"error": {"message": "Provider failed", "type": "server_error", "code": None}}
TEXT: Json = [{"type": "message", "content": [{"type": "output_text", "text": "one two three"}]}]
PICTURE: Json = [{"type": "image_generation_call", "id": "ig_1", "result": "iVBORw0KGgo="}]
REPORTED: Json = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
EVENTS = (("content-type", "text/event-stream"),)
HTML = (("content-type", "text/html"),)


def response(status: str, output: Json = None, usage: Json = None) -> dict[str, Json]:
    error: Json = {"code": "server_error"} if status == "failed" else None
    document: dict[str, Json] = {"id": "r", "object": "response", "status": status, "error": error}
    return {**document, "output": output or [], "usage": usage}


def ended(kind: str, document: Json) -> bytes:
    event: Json = {"type": f"response.{kind}", "response": document}
    return f"event: response.{kind}\n".encode() + b"data: " + orjson.dumps(event) + b"\n\n"


def message(text: str, **members: Json) -> dict[str, Json]:
    return {"index": 0, "message": {"role": "assistant", "content": text}, **members}


async def ask(
    http: httpx2.AsyncClient, headers: dict[str, str], body: dict[str, Any]
) -> httpx2.Response:
    path = "/v1/chat/completions" if "messages" in body else "/v1/responses"
    path = path if body["model"] != EMBEDDING["model"] else "/v1/embeddings"
    return await http.post(path, json=body, headers=headers)


FREE: dict[str, tuple[dict[str, Any], Response]] = {
    "an error": (CHAT, json_response(ERROR)),
    "an error, streamed": (STREAM, event_stream(b"data: " + orjson.dumps(ERROR) + b"\n\n")),
    "an error in a document instead of a stream": (STREAM, json_response(ERROR)),
    "an error in a document said to be a stream": (
        STREAM,
        Response(headers=EVENTS, body=orjson.dumps(ERROR)),
    ),
    "an error of embeddings": (EMBEDDING, json_response(ERROR)),
    "an error beside no text": (CHAT, json_response({**ERROR, "choices": [message("")]})),
    "an error of every choice": (CHAT, json_response({"choices": [message("", **ERROR)]})),
    "an error of every choice, streamed": (
        STREAM,
        event_stream(chunk(choices=[{"index": 0, "delta": {"content": ""}, **ERROR}]), DONE),
    ),
    "a failed response": (RESPONSE, json_response(response("failed"))),
    "a failed response, streamed": (
        {**RESPONSE, "stream": True},
        event_stream(ended("failed", response("failed"))),
    ),
    "a cancelled response": (RESPONSE, json_response(response("cancelled"))),
    "a cancelled response, streamed": (
        {**RESPONSE, "stream": True},
        event_stream(ended("completed", response("cancelled"))),
    ),
    "no choices": (CHAT, json_response({"id": "c", "object": "chat.completion", "choices": []})),
    "no choices, streamed": (STREAM, event_stream(chunk(choices=[]), DONE)),
    "no choices and zeros": (
        CHAT,
        json_response({"choices": [], "usage": {"prompt_tokens": 0, "total_tokens": 0}}),
    ),
    "nothing": (CHAT, Response(body=b"")),
    "nothing, streamed": (STREAM, event_stream()),
    "nothing for a stream, as JSON": (STREAM, Response(body=b"")),
    "no event but the end": (STREAM, event_stream(DONE)),
    "no event but comments": (STREAM, event_stream(b": ping\n\n", b"\n")),
    "a page": (CHAT, Response(headers=HTML, body=b"<!DOCTYPE html><title>Welcome</title>")),
    "a page for a stream": (STREAM, Response(headers=HTML, body=b"<html></html>")),
    "a page said to be a stream": (STREAM, Response(headers=EVENTS, body=b"<html>\n\n</html>\n")),
}


@pytest.mark.parametrize(("body", "script"), FREE.values(), ids=FREE)
async def test_a_failure_or_nothing_at_all_costs_nothing_and_arrives_as_it_came(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    body: dict[str, Any],
    script: Response,
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(script)
    response = await ask(http, holder.headers, body)
    sent = b"".join(part for part in script.parts if isinstance(part, bytes))
    assert (response.status_code, response.content) == (200, sent)
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).balance == 1000


COUNTED: dict[str, tuple[dict[str, Any], Response, int]] = {
    "an error beside text": (CHAT, json_response({**ERROR, "choices": [message("one two")]}), 2),
    "an error after text": (
        STREAM,
        event_stream(content("one two"), b"data: " + orjson.dumps(ERROR) + b"\n\n"),
        2,
    ),
    "a choice without text": (CHAT, json_response({"choices": [message("")]}), 0),
    "a choice without text, streamed": (STREAM, event_stream(content(""), DONE), 0),
    "failed after text": (RESPONSE, json_response(response("failed", TEXT)), 3),
    "failed beside what is no text": (RESPONSE, json_response(response("failed", PICTURE)), 0),
    "failed beside what is no text, streamed": (
        {**RESPONSE, "stream": True},
        event_stream(ended("failed", response("failed", PICTURE))),
        0,
    ),
    "incomplete": (RESPONSE, json_response(response("incomplete", TEXT)), 3),
    "incomplete without output": (RESPONSE, json_response(response("incomplete")), 0),
    "incomplete without output, streamed": (
        {**RESPONSE, "stream": True},
        event_stream(ended("incomplete", response("incomplete"))),
        0,
    ),
    "a response that never ended": (
        {**RESPONSE, "stream": True},
        event_stream(ended("created", response("in_progress"))),
        0,
    ),
    "embeddings": (EMBEDDING, json_response({"data": [{"embedding": [0.5]}]}), 0),
    "zeros for embeddings": (
        EMBEDDING,
        json_response({"data": [{}], "usage": {"prompt_tokens": 0, "total_tokens": 0}}),
        0,
    ),
}


@pytest.mark.parametrize(("body", "script", "output"), COUNTED.values(), ids=COUNTED)
async def test_what_has_output_or_just_no_usage_is_counted(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    body: dict[str, Any],
    script: Response,
    output: int,
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(script)
    await ask(http, holder.headers, {**body, "max_output_tokens": 50} if "input" in body else body)
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert charge["input"] >= 2
    assert charge["output"] == output


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_that_reports_usage_is_charged_by_it(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, *, stream: bool
) -> None:
    holder = await create_holder(pool, 1000)
    failed = response("failed", usage=REPORTED)
    upstream.script(event_stream(ended("failed", failed)) if stream else json_response(failed))
    body = {**RESPONSE, "max_output_tokens": 50, "stream": stream}
    await ask(http, holder.headers, body)
    (charge,) = await charges_of(pool, holder)
    assert (charge["total"], charge["estimated"]) == (12, False)


# The type that is said, and what comes

TYPES = (
    *((), (("content-type", "application/json"),), (("content-type", "text/plain"),)),
    (("Content-Type", "TEXT/EVENT-STREAM;charset=UTF-8"),),
    (("content-type", "application/x-ndjson"),),
)


BEGINNINGS = (b"\xef\xbb\xbf", b": ping\n\n", b"\n\n", b"\r\n")


@pytest.mark.parametrize(
    ("headers", "before"),
    [*((headers, b"") for headers in TYPES), *((TYPES[1], before) for before in BEGINNINGS)],
    ids=str,
)
async def test_events_under_any_type_are_relayed_as_they_arrive_and_metered(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    headers: tuple[tuple[str, str], ...],
    before: bytes,
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(Response(headers=headers, body=[before + content("one"), gate, USAGE, DONE]))
    seen = b""
    async with http.stream(
        "POST", "/v1/chat/completions", json=STREAM, headers=holder.headers
    ) as response:
        async for piece in response.aiter_raw():
            seen += piece
            if b"one" in seen:
                gate.open()
    assert seen == before + content("one") + DONE
    assert response.headers.get("content-type") == (headers[0][1] if headers else None)
    (charge,) = await charges_of(pool, holder)
    assert (charge["total"], charge["estimated"]) == (12, False)


async def test_events_whose_first_bytes_come_one_by_one_are_events(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    events = content("one") + USAGE + DONE
    upstream.script(
        Response(headers=(), body=[*(events[i : i + 1] for i in range(40)), events[40:]])
    )
    response = await ask(http, holder.headers, STREAM)
    assert response.content == content("one") + DONE
    (charge,) = await charges_of(pool, holder)
    assert (charge["total"], charge["estimated"]) == (12, False)


@pytest.mark.parametrize(
    ("headers", "before"),
    [(EVENTS, b""), (EVENTS, b"\n  \n"), (TYPES[0], b"\n"), (TYPES[1], b""), (TYPES[2], b"")],
    ids=str,
)
async def test_a_document_under_any_type_is_metered_as_one(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    headers: tuple[tuple[str, str], ...],
    before: bytes,
) -> None:
    holder = await create_holder(pool, 1000)
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    document = orjson.dumps({"choices": [message("one two three")], "usage": usage})
    upstream.script(Response(headers=headers, body=[before, document[:30], document[30:]]))
    response = await ask(http, holder.headers, STREAM)
    assert response.content == before + document
    (charge,) = await charges_of(pool, holder)
    assert (charge["total"], charge["estimated"]) == (12, False)


@pytest.mark.parametrize("headers", [EVENTS, TYPES[1]], ids=str)
@pytest.mark.parametrize("body", [b"\n", b"da", b"data: {"])
async def test_a_stream_that_breaks_off_at_its_beginning_is_charged(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(Response(headers=headers, body=[body, b"more"], cut_after=len(body)))
    response = await ask(http, holder.headers, STREAM)
    assert b"upstream_incomplete" in response.content
    (charge,) = await charges_of(pool, holder)
    assert (charge["input"], charge["output"], charge["estimated"]) == (9, 0, True)


async def test_blank_bytes_without_end_are_not_kept_as_a_beginning(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenbalance.proxy.documents.BUFFERED_BYTES_MAX", 5000)
    holder = await create_holder(pool, 1000)
    gate = Gate()
    blank = b" " * 6000
    upstream.script(Response(body=[blank, gate, content("one")]))
    async with http.stream(
        "POST", "/v1/chat/completions", json=STREAM, headers=holder.headers
    ) as response:
        gate.open()
        seen = await response.aread()
    assert seen == blank + content("one")
    (charge,) = await charges_of(pool, holder)
    assert (charge["output"], charge["estimated"]) == (1, True)
