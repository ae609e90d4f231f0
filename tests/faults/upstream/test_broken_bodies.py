"""Bodies that break off, fall silent, or have invalid chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import orjson
import pytest

from tests.support.books import create_holder
from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.upstream import (
    Framing,
    Gate,
    Response,
    ScriptedUpstream,
    event_stream,
)
from tests.support.upstream_faults import (
    BALANCE,
    CHUNKED,
    COUNTED,
    GOOD,
    INPUT_ONLY,
    LARGER,
    MEGABYTE,
    OK_HEAD,
    REPORTED,
    STREAM_HEAD,
    WORDS,
    assert_cost,
    assert_incomplete,
    document,
    post,
    shorten_timeouts,
)

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.chat import Sdk
    from tokenbalance.database.connections import Pool


CUT_CHUNKS = {
    "less than its size": b"ff\r\nhello",
    "a size and no more": b"5\r\n",
    "an endless size": b"0" * MEGABYTE,
}


BROKEN_CHUNKS = {
    "no size": b"zz\r\n",
    "a negative size": b"-5\r\nhello\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nhello",
    "more than its size": b"2\r\nhello\r\n",
}


BAD_CHUNKS = {**CUT_CHUNKS, **BROKEN_CHUNKS}


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_invalid_chunks_of_a_document_are_a_424_and_what_came_before_is_counted(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    head_arrived: Gate,
    bad: bytes,
) -> None:
    text = document(b"")
    sent = b"%x\r\n%b\r\n" % (len(text), text)
    upstream.script(Response(raw=[OK_HEAD + CHUNKED, head_arrived, sent + bad]))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, COUNTED)


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_invalid_chunks_right_behind_the_head_are_a_424_whose_input_is_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, bad: bytes
) -> None:
    upstream.script(Response(raw=OK_HEAD + CHUNKED + bad))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, INPUT_ONLY)


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_invalid_chunks_of_a_stream_end_it_with_an_error_event(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    head_arrived: Gate,
    bad: bytes,
) -> None:
    event = content(WORDS)
    sent = b"%x\r\n%b\r\n" % (len(event), event)
    upstream.script(Response(raw=[STREAM_HEAD + CHUNKED, head_arrived, sent + bad]))
    response = await post(http, holder, STREAM)
    assert response.status_code == 200
    assert response.content.startswith(event)
    last = response.content.rstrip().rpartition(b"data: ")[2]
    assert orjson.loads(last)["error"]["code"] == "upstream_incomplete"
    await assert_cost(pool, holder, COUNTED)


@pytest.mark.parametrize("bad", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
async def test_a_stream_whose_first_chunk_came_broken_with_its_head_is_told_and_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, bad: bytes
) -> None:
    upstream.script(Response(raw=STREAM_HEAD + CHUNKED + bad))
    response = await post(http, holder, STREAM)
    if bad == BROKEN_CHUNKS["more than its size"]:
        # Some of the body had come, so that the stream has begun.
        assert response.status_code == 200
        last = response.content.rstrip().rpartition(b"data: ")[2]
        assert orjson.loads(last)["error"]["code"] == "upstream_incomplete"
    else:
        assert_incomplete(response)
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_a_stream_that_came_whole_with_its_head_and_broke_behind_its_end_is_charged_truly(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    events = content(WORDS) + USAGE + DONE
    sent = b"%x\r\n%b\r\n" % (len(events), events)
    upstream.script(Response(raw=STREAM_HEAD + CHUNKED + sent + BROKEN_CHUNKS["no size"]))
    response = await post(http, holder, STREAM)
    assert response.status_code == 200
    assert response.content.startswith(content(WORDS))
    assert b"[DONE]" in response.content
    await assert_cost(pool, holder, REPORTED)


async def test_an_upstream_that_falls_silent_within_a_stream_ends_it_with_an_error_event(
    pool: Pool,
    sdk: Sdk,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(event_stream(content(WORDS), Gate(), USAGE, DONE))
    stream = await sdk(holder).chat.completions.create(**STREAM)
    texts: list[str] = []

    async def read() -> None:
        async for part in stream:
            texts.append(part.choices[0].delta.content)  # noqa: PERF401 - kept when it raises

    with pytest.raises(openai.APIError, match="broke off"):
        await read()
    assert texts == [WORDS]
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    await assert_cost(pool, holder, COUNTED)


async def test_an_upstream_that_falls_silent_within_a_document_is_a_424_that_is_counted(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    upstream.script(Response(body=[document(b"")[:-1], Gate(), b"}"]))
    assert_incomplete(await post(http, holder))
    await assert_cost(pool, holder, COUNTED)


async def test_what_follows_an_answer_on_its_connection_never_answers_somebody_else(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    body = document(b',"usage":' + GOOD)
    head = OK_HEAD + b"content-length: %d\r\n\r\n" % len(body)
    forged = document(b',"usage":' + LARGER)
    surplus = OK_HEAD + b"content-length: %d\r\n\r\n" % len(forged) + forged
    held = Gate()
    upstream.script(Response(raw=[head + body + surplus, held]), Response(body=body))
    other = await create_holder(pool, BALANCE)
    before = upstream.connections
    assert (await post(http, holder)).content == body
    assert (await post(http, other)).content == body
    held.open()
    assert upstream.connections > before
    for charged in (holder, other):
        await assert_cost(pool, charged, REPORTED)


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED])
async def test_interim_answers_before_the_answer_are_not_the_answer(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    framing: Framing,
) -> None:
    body = document(b',"usage":' + GOOD)
    length = b"content-length: %d\r\n\r\n" % len(body)
    framed = length + body
    if framing is Framing.CHUNKED:
        framed = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"
    upstream.script(Response(raw=interim + OK_HEAD + framed))
    response = await post(http, holder)
    assert (response.status_code, response.content) == (200, body)
    await assert_cost(pool, holder, REPORTED)
