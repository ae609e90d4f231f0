"""What is kept of how a request went, however it ended."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx2
import orjson
import pytest

from tests.support.books import account_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, MESSAGES, STREAM, USAGE, content
from tests.support.product import serving
from tests.support.request_rows import REQUESTS
from tests.support.upstream import Framing, Gate, Response, event_stream, json_response
from tokenbalance.model import UNTRACED, Trace
from tokenbalance.proxy import refusals

if TYPE_CHECKING:
    import asyncpg

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

USED = {"usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}
ID = "req_0123456789abcdef"


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def post(http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any]) -> httpx2.Response:
    return await http.post("/v1/chat/completions", json=body, headers=holder.headers)


async def kept(pool: Pool, holder: Holder) -> Trace:
    """The trace of the holder's only request, once that has ended."""
    async with asyncio.timeout(10):
        while "open" in await hold_states(pool, holder):
            await asyncio.sleep(0.005)
    return trace_of(await row_of(pool, holder))


async def row_of(pool: Pool, holder: Holder) -> asyncpg.Record:
    row = await pool.fetchrow(
        f"SELECT * FROM {REQUESTS} r WHERE account_id = $1",  # noqa: S608 - a constant
        holder.account_id,
    )
    assert row is not None
    return row


def trace_of(row: asyncpg.Record) -> Trace:
    return Trace(*(row[name] for name in Trace._fields))


def timeless(trace: Trace) -> Trace:
    return trace._replace(first_byte_ms=None, total_ms=None)


def answer(request_id: str = ID, **parts: Any) -> Response:
    headers = [("content-type", "application/json"), ("x-request-id", request_id)]
    values: dict[str, Any] = {"body": orjson.dumps(USED), **parts}
    return Response(headers=headers, **values)


def refusal(status: int, code: object, kind: object = "tokens", **parts: Any) -> Response:
    error = {"message": "Hello there", "type": kind, "param": None, "code": code}
    values: dict[str, Any] = {"body": orjson.dumps({"error": error}), **parts}
    return answer(status=status, **values)


async def test_a_settled_request_keeps_status_request_id_cap_and_times(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gate, rest = Gate(), Gate()
    body = [b'{"usage":', rest, orjson.dumps(USED["usage"]), b"}"]
    upstream.script(answer(head_gate=gate, body=body))
    began = time.perf_counter()
    asking = asyncio.create_task(post(http, holder, CHAT))
    await gate.reached.wait()
    await asyncio.sleep(0.03)
    gate.open()
    await rest.reached.wait()
    await asyncio.sleep(0.03)
    rest.open()
    assert (await asking).status_code == 200
    passed_ms = (time.perf_counter() - began) * 1000
    trace = await kept(pool, holder)
    assert timeless(trace) == Trace(200, None, ID, streamed=False, output_cap=50, capped=False)
    assert trace.first_byte_ms is not None
    assert trace.total_ms is not None
    assert trace.first_byte_ms >= 25
    assert trace.first_byte_ms + 25 <= trace.total_ms <= passed_ms


async def test_a_stream_that_the_balance_caps_says_so(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 30)
    upstream.script(event_stream(content("one two"), USAGE, DONE))
    _ = await post(http, holder, {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True})
    assert upstream.requests[0].json()["max_completion_tokens"] == 21
    trace = await kept(pool, holder)
    assert timeless(trace) == Trace(200, streamed=True, output_cap=21, capped=True)


async def test_a_request_without_any_output_limit_keeps_none(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, 10_000_000)
    _ = await post(http, holder, {"model": "gpt-4o-mini", "messages": MESSAGES})
    trace = await kept(pool, holder)
    assert (trace.output_cap, trace.capped) == (None, False)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (refusal(429, "rate_limit_exceeded"), "rate_limit_exceeded"),
        (refusal(500, None, "server_error"), "server_error"),
        (refusal(400, 1301), "1301"),
        (refusal(400, "Hello there", "sk-123456"), None),
        (refusal(400, "x" * 65, ["x"]), None),
        (answer(status=502, body=b"<html>Hello there</html>"), None),
        (answer(status=400, body=b'{"detail":"Hello there"}'), None),
    ],
)
async def test_a_voided_request_keeps_why_the_upstream_refused_it_but_no_text(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    response: Response,
    code: str | None,
) -> None:
    upstream.script(response)
    _ = await post(http, holder, STREAM)
    trace = await kept(pool, holder)
    assert await hold_states(pool, holder) == ["voided"]
    assert timeless(trace) == Trace(response.status, code, ID, None, None, True, 50, False)  # noqa: FBT003 - fields
    assert trace.first_byte_ms is not None
    assert trace.total_ms is not None


@pytest.mark.parametrize("request_id", ["with a space", "x" * 129, "Grüße", ""])
async def test_a_request_id_that_is_none_is_not_kept(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    request_id: str,
) -> None:
    upstream.script(answer(request_id))
    _ = await post(http, holder, CHAT)
    assert (await kept(pool, holder)).upstream_request_id is None


@pytest.mark.parametrize(
    ("body", "response"),
    [
        (CHAT, json_response({"error": {"code": "server_error"}})),
        (STREAM, event_stream(b'data: {"error":{"code":"server_error"}}\n\n', DONE)),
        (STREAM, event_stream(b'event: error\ndata: {"code":"server_error"}\n\n')),
    ],
    ids=["document", "stream", "event"],
)
async def test_an_error_inside_a_2xx_is_the_reason_of_its_void(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    body: dict[str, Any],
    response: Response,
) -> None:
    upstream.script(response)
    _ = await post(http, holder, body)
    trace = await kept(pool, holder)
    assert await hold_states(pool, holder) == ["voided"]
    assert (trace.upstream_status, trace.error_code) == (200, "server_error")


async def test_an_unreachable_upstream_leaves_our_own_code_and_no_status(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    await upstream.stop()
    assert (await post(http, holder, CHAT)).status_code == 502
    trace = await kept(pool, holder)
    assert timeless(trace) == Trace(
        error_code="upstream_unavailable", streamed=False, output_cap=50, capped=False
    )
    assert trace.first_byte_ms is None
    assert trace.total_ms is not None


async def test_a_response_that_breaks_off_is_charged_and_keeps_its_head(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(answer(framing=Framing.LENGTH, cut_after=10))
    assert (await post(http, holder, CHAT)).status_code == 424
    trace = await kept(pool, holder)
    assert await hold_states(pool, holder) == ["settled"]
    assert timeless(trace) == Trace(200, None, ID, None, None, False, 50, False)  # noqa: FBT003 - fields


async def test_a_refusal_whose_body_stalls_releases_the_hold_without_its_reason(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "REASON_S", 0.05)
    gate = Gate()
    body = [b'{"error":', gate, b'{"code":"late"}}']
    upstream.script(answer(status=429, body=body))
    asking = asyncio.create_task(post(http, holder, CHAT))
    await gate.reached.wait()
    trace = await kept(pool, holder)
    assert (trace.upstream_status, trace.error_code) == (429, None)
    assert not asking.done()
    gate.open()
    assert (await asking).json() == {"error": {"code": "late"}}
    assert (await account_of(pool, holder)).balance == 1000


async def test_a_client_that_leaves_during_a_refusal_costs_nothing(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gate = Gate()
    upstream.script(answer(status=429, body=[b'{"error":', gate, b"{}}"]))
    async with (
        serving(dsn, upstream.base_url, on_disconnect="cancel") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        asking = asyncio.create_task(post(http, holder, CHAT))
        await gate.reached.wait()
        asking.cancel()
        await asyncio.wait([asking])
        trace = await kept(pool, holder)
    gate.open()
    assert await hold_states(pool, holder) == ["voided"]
    assert trace.upstream_status == 429
    assert (await account_of(pool, holder)).balance == 1000


async def test_an_open_hold_has_no_trace_yet(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gate = Gate()
    upstream.script(answer(head_gate=gate))
    asking = asyncio.create_task(post(http, holder, CHAT))
    await gate.reached.wait()
    assert trace_of(await row_of(pool, holder)) == UNTRACED
    gate.open()
    _ = await asking
    assert (await kept(pool, holder)).upstream_status == 200
