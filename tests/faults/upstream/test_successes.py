"""Successes of the upstream that are odd in some way, and usage reports that make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import charges_of
from tests.support.chat import DONE, STREAM, USAGE, chunk, content
from tests.support.upstream import (
    Framing,
    Response,
    ScriptedUpstream,
    event_stream,
)
from tests.support.upstream_faults import (
    COUNTED,
    FREE,
    GOOD,
    INPUT,
    INPUT_ONLY,
    LARGER,
    REPORTED,
    WORDS,
    Cost,
    Odd,
    assert_cost,
    document,
    post,
    report,
)
from tokenbalance.openai.metering.doubt import PLAUSIBLE_TOKENS

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json


BODIES: dict[str, tuple[Odd, Cost]] = {
    "empty": (Odd(200), FREE),
    "no content": (Odd(204, framing=Framing.NONE), FREE),
    "accepted": (Odd(202, b"{}"), FREE),
    "HTML": (Odd(200, b"<html>please log in</html>", "text/html"), FREE),
    "invalid UTF-8": (Odd(200, b'{"a": "\xff\xfe\x80"}'), FREE),
    "null": (Odd(200, b"null"), FREE),
    "a list": (Odd(200, b"[" * 3 + b"]" * 3), FREE),
    "nested without an end": (Odd(200, b"[" * 100_000), FREE),
    "an answer that is no JSON": (Odd(200, b'{"choices":[{"index":0,\xff'), INPUT_ONLY),
    "half a document": (Odd(200, document(b"")[:-4]), COUNTED),
    "two documents": (Odd(200, document(b"") * 2), Cost(INPUT + 6, estimated=True)),
    "no content type": (Odd(200, document(b""), None), COUNTED),
    "until the connection closes": (Odd(200, document(b""), framing=Framing.CLOSE), COUNTED),
    "a stream that says it is JSON": (Odd(200, content(WORDS) + DONE), COUNTED),
    "JSON that says it is a stream": (Odd(200, document(b""), "text/event-stream"), COUNTED),
}


@pytest.mark.parametrize(("odd", "cost"), BODIES.values(), ids=BODIES)
async def test_an_odd_success_arrives_as_it_came_and_is_counted_if_it_is_an_answer(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    odd: Odd,
    cost: Cost,
) -> None:
    headers = [("content-type", odd.content_type)] if odd.content_type else []
    upstream.script(
        Response(status=odd.status, headers=headers, body=odd.body, framing=odd.framing)
    )
    response = await post(http, holder)
    assert (response.status_code, response.content) == (odd.status, odd.body)
    await assert_cost(pool, holder, cost)


HUGE = 2**53


REPORTS: dict[str, tuple[list[bytes], Cost]] = {
    "none": ([], COUNTED),
    "null": ([b"null"], COUNTED),
    "a number": ([b"12"], COUNTED),
    "a text": ([b'"12"'], COUNTED),
    "a list": ([b"[%b]" % GOOD], COUNTED),
    "a bool": ([b"true"], COUNTED),
    "an empty object": ([b"{}"], COUNTED),
    "negative": ([report("9", "3", "-12")], COUNTED),
    "zeros": ([report("0", "0", "0")], COUNTED),
    "less than its parts": ([report("9", "3", "11")], COUNTED),
    "a negative part": ([report("-9", "3", "12")], COUNTED),
    "1e30": ([report("9", "3", "1e30")], COUNTED),
    "1e999": ([report("9", "3", "1e999")], COUNTED),
    "beyond 64 bits": ([report("9", "3", str(2**64))], COUNTED),
    "beyond what is exact": ([report("9", "3", str(HUGE + 1))], COUNTED),
    "NaN": ([report("9", "3", "NaN")], COUNTED),
    "minus infinity": ([report("9", "3", "-Infinity")], COUNTED),
    "a fraction": ([report("9", "3", "12.5")], COUNTED),
    "texts": ([report('"9"', '"3"', '"12"')], COUNTED),
    "bools": ([report("true", "true", "true")], COUNTED),
    "lists": ([report("[9]", "[3]", "[12]")], COUNTED),
    "a leading zero": ([report("9", "3", "012")], COUNTED),
    "more than was held": ([report("9", "3", "5000")], Cost(5000)),
    "the most that is plausible": (
        [report("9", "3", str(PLAUSIBLE_TOKENS))],
        Cost(PLAUSIBLE_TOKENS),
    ),
    "the most there can be": ([report("9", "3", str(HUGE))], Cost(INPUT + 50, estimated=True)),
    "twice the same": ([GOOD, GOOD], REPORTED),
    "twice, growing": ([GOOD, LARGER], Cost(20)),
}


async def assert_overrun(pool: Pool, holder: Holder, cost: Cost) -> None:
    (charge,) = await charges_of(pool, holder)
    assert charge["overrun"] == max(cost.total - charge["held"], 0)


@pytest.mark.parametrize(("usages", "cost"), REPORTS.values(), ids=REPORTS)
async def test_usage_in_a_document_is_believed_when_it_makes_sense_and_counted_when_not(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    usages: list[bytes],
    cost: Cost,
) -> None:
    body = document(b"".join(b',"usage":%b' % usage for usage in usages))
    upstream.script(Response(body=body))
    response = await post(http, holder)
    assert (response.status_code, response.content) == (200, body)
    assert response.headers["x-tokenbalance-charge"] == str(cost.total)
    await assert_cost(pool, holder, cost)
    await assert_overrun(pool, holder, cost)


@pytest.mark.parametrize("asked_for", [True, False])
@pytest.mark.parametrize(("usages", "cost"), REPORTS.values(), ids=REPORTS)
async def test_usage_in_a_stream_is_believed_when_it_makes_sense_and_counted_when_not(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    usages: list[bytes],
    cost: Cost,
    asked_for: bool,
) -> None:
    events = [b'data: {"choices":[],"usage":%b}\n\n' % usage for usage in usages]
    upstream.script(event_stream(content(WORDS), *events, DONE))
    response = await post(
        http, holder, {**STREAM, "stream_options": {"include_usage": True}} if asked_for else STREAM
    )
    assert response.status_code == 200
    assert response.content.startswith(content(WORDS))
    assert response.content.endswith(DONE)
    if asked_for:
        assert response.content == content(WORDS) + b"".join(events) + DONE
    await assert_cost(pool, holder, cost)
    await assert_overrun(pool, holder, cost)


async def test_of_two_reports_in_a_stream_the_greater_counts(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    shrunk: Json = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    upstream.script(event_stream(content(WORDS), USAGE, chunk(choices=[], usage=shrunk), DONE))
    await post(http, holder, STREAM)
    await assert_cost(pool, holder, REPORTED)
