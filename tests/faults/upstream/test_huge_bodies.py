"""Responses without an end: bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.upstream import (
    Framing,
    Response,
    ScriptedUpstream,
    event_stream,
    json_response,
)
from tests.support.upstream_faults import (
    COUNTED,
    GOOD,
    INPUT_ONLY,
    MEGABYTE,
    MEMORY_MAX,
    OK_HEAD,
    REPORTED,
    WORDS,
    assert_cost,
    assert_incomplete,
    post,
)

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json


def resident_bytes() -> int:
    """What this process has in memory now: product, upstream and client."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


@dataclass
class Read:
    """What a client saw of an answer too large to keep."""

    status: int = 0
    received: int = 0
    last: bytes = b""
    memory: int = 0
    """The most that was in memory at any piece, beyond what was there before."""


async def read_through(http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any]) -> Read:
    """Ask, and let go of every piece of the answer."""
    before = resident_bytes()
    seen = Read()
    request = http.stream("POST", "/v1/chat/completions", json=body, headers=holder.headers)
    async with request as response:
        seen.status = response.status_code
        async for piece in response.aiter_raw():
            seen.received += len(piece)
            seen.last = (seen.last + piece)[-4096:]
            seen.memory = max(seen.memory, resident_bytes() - before)
    return seen


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").is_file(), reason="memory is looked up in /proc"
)


FILLER = b"a b c d " * (MEGABYTE // 8)


@needs_proc
@pytest.mark.parametrize("usage", [b',"usage":' + GOOD, b""], ids=["usage", "no usage"])
async def test_a_document_of_200_megabytes_passes_in_bounded_memory_and_is_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, usage: bytes
) -> None:
    opening = b'{"choices":[{"index":0,"message":{"content":"one two three"},"padding":"'
    upstream.script(Response(body=[opening, *[FILLER] * 200, b'"}]' + usage + b"}"]))
    seen = await read_through(http, holder, CHAT)
    assert seen.status == 200
    assert seen.received > 200 * MEGABYTE
    assert seen.memory < MEMORY_MAX
    await assert_cost(pool, holder, REPORTED if usage else COUNTED)


@needs_proc
@pytest.mark.parametrize("asked_for", [True, False])
async def test_a_line_of_200_megabytes_passes_in_bounded_memory_and_is_charged(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    asked_for: bool,
) -> None:
    line = [b'data: {"id":"c","padding":"', *[FILLER] * 200, b'"}\n\n']
    upstream.script(event_stream(content(WORDS), *line, USAGE, DONE))
    body = {**STREAM, "stream_options": {"include_usage": asked_for}}
    seen = await read_through(http, holder, body)
    assert seen.received > 200 * MEGABYTE
    assert seen.last.endswith(DONE)
    assert seen.memory < MEMORY_MAX
    await assert_cost(pool, holder, REPORTED)


@needs_proc
async def test_a_line_that_never_ends_is_passed_on_and_its_break_is_told(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    parts = [content(WORDS), b'data: {"id":"c","padding":"', *[FILLER] * 100]
    size = sum(map(len, parts))
    upstream.script(
        Response(
            headers=[("content-type", "text/event-stream")],
            body=[*parts, b"never sent"],
            framing=Framing.CHUNKED,
            cut_after=size,
        )
    )
    seen = await read_through(http, holder, STREAM)
    assert seen.received > size
    assert seen.memory < MEMORY_MAX
    assert b"upstream_incomplete" in seen.last
    await assert_cost(pool, holder, COUNTED)


@needs_proc
async def test_a_document_too_large_to_keep_that_breaks_off_breaks_off_for_the_client_too(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    opening = b'{"choices":[{"index":0,"message":{"content":"one two three"},"padding":"'
    upstream.script(
        Response(body=[opening, *[FILLER] * 20, b"never sent"], cut_after=20 * MEGABYTE)
    )
    with pytest.raises(httpx2.RemoteProtocolError):
        await read_through(http, holder, CHAT)
    await assert_cost(pool, holder, COUNTED)


@needs_proc
async def test_a_head_without_end_is_refused_in_bounded_memory(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    before = resident_bytes()
    upstream.script(Response(raw=[OK_HEAD + b"x-endless: ", *[b"x" * MEGABYTE] * 200]))
    assert_incomplete(await post(http, holder))
    assert resident_bytes() - before < MEMORY_MAX
    await assert_cost(pool, holder, INPUT_ONLY)


async def test_a_small_document_in_the_same_manner_is_what_the_large_ones_say(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    upstream.script(json_response({"choices": [], "usage": usage}))
    seen = await read_through(http, holder, CHAT)
    assert seen.status == 200
    await assert_cost(pool, holder, REPORTED)
