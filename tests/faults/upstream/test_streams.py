"""Streams that are odd in some way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.upstream import (
    ScriptedUpstream,
    event_stream,
)
from tests.support.upstream_faults import (
    COUNTED,
    FREE,
    REPORTED,
    WORDS,
    Cost,
    assert_cost,
    assert_free,
    post,
)

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


ERROR_EVENT = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'


NAMED_ERROR = b'event: error\ndata: {"message":"overloaded"}\n\n'


STREAMS: dict[str, tuple[list[bytes], Cost]] = {
    "no end mark": ([content(WORDS), USAGE], REPORTED),
    "no end mark and no blank line": ([content(WORDS), USAGE[:-2]], REPORTED),
    "bytes after the end": ([content(WORDS), USAGE, DONE, b"and more\n\n"], REPORTED),
    "events after the end": ([content(WORDS), USAGE, DONE, content("four")], REPORTED),
    "the end twice": ([content(WORDS), USAGE, DONE, DONE], REPORTED),
    "only the end": ([DONE], FREE),
    "nothing": ([], FREE),
    "only comments": ([b": alive\n\n"] * 3, FREE),
    "no event at all": ([b"<html>please log in</html>"], FREE),
    "data that is no JSON": ([b"data: nonsense\n\n", content(WORDS), DONE], COUNTED),
    "invalid UTF-8": ([b"data: \xff\xfe\n\n", content(WORDS), DONE], COUNTED),
    "zero bytes": ([b"\0" * 9, b"\n\n", content(WORDS), DONE], COUNTED),
    "an error after text": ([content(WORDS), ERROR_EVENT], COUNTED),
    "a named error after text": ([content(WORDS), NAMED_ERROR], COUNTED),
    "an error after usage": ([content(WORDS), USAGE, ERROR_EVENT], REPORTED),
    "an error before text and usage": ([ERROR_EVENT, content(WORDS), USAGE, DONE], REPORTED),
    "an error before text": ([ERROR_EVENT, content(WORDS), DONE], COUNTED),
    "an error before usage": ([NAMED_ERROR, USAGE, DONE], REPORTED),
    "an error after the end": ([content(WORDS), DONE, ERROR_EVENT], COUNTED),
}


@pytest.mark.parametrize(("events", "cost"), STREAMS.values(), ids=STREAMS)
async def test_an_odd_stream_arrives_as_it_came_and_is_charged_once_at_most(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    events: list[bytes],
    cost: Cost,
) -> None:
    upstream.script(event_stream(*events))
    body = {**STREAM, "stream_options": {"include_usage": True}}
    response = await post(http, holder, body)
    assert (response.status_code, response.content) == (200, b"".join(events))
    await assert_cost(pool, holder, cost)


@pytest.mark.parametrize("event", [ERROR_EVENT, NAMED_ERROR], ids=["unnamed", "named"])
async def test_an_error_event_before_any_text_is_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    event: bytes,
) -> None:
    upstream.script(event_stream(b": alive\n\n", event, DONE))
    response = await post(http, holder, STREAM)
    assert response.content == b": alive\n\n" + event + DONE
    await assert_free(pool, holder)
