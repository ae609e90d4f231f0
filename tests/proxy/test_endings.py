"""Every way a request can end leaves its hold settled or voided, and the right one of the two."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import openai
import pytest

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.product import serving
from tests.support.upstream import (
    Framing,
    Gate,
    Response,
    ScriptedUpstream,
    event_stream,
    json_response,
)
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tests.support.chat import Sdk
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Charge, Hold, Json, Trace, Usage


async def until_ended(pool: Pool, holder: Holder) -> list[str]:
    """Wait until the account has no open hold; gives how its holds ended."""
    async with asyncio.timeout(10):
        while "open" in (states := await hold_states(pool, holder)):
            await asyncio.sleep(0.01)
    return states


async def post(http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any]) -> httpx2.Response:
    return await http.post("/v1/chat/completions", json=body, headers=holder.headers)


async def test_a_client_that_hangs_up_is_charged_what_the_upstream_reported(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(event_stream(content("a"), gate, content("b"), USAGE, DONE))
    async with http.stream(
        "POST", "/v1/chat/completions", json=STREAM, headers=holder.headers
    ) as response:
        async for _ in response.aiter_raw():
            break
    gate.open()
    assert await until_ended(pool, holder) == ["settled"]
    (charge,) = await charges_of(pool, holder)
    assert (charge["total"], charge["estimated"]) == (12, False)
    assert len(upstream.completed) == 1


async def test_a_client_that_hangs_up_before_a_whole_answer_is_charged_for_it(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    upstream.script(Response(head_gate=gate, body=json_response({"usage": usage}).body))
    asking = asyncio.create_task(post(http, holder, CHAT))
    await gate.reached.wait()
    asking.cancel()
    await asyncio.wait([asking])
    gate.open()
    assert await until_ended(pool, holder) == ["settled"]
    assert (await account_of(pool, holder)).balance == 986


@pytest.mark.parametrize("stream", [True, False])
async def test_the_operator_may_choose_to_cancel_when_a_client_hangs_up(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, stream: bool
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    if stream:
        upstream.script(event_stream(content("one two"), gate, USAGE, DONE))
    else:
        upstream.script(Response(head_gate=gate))
    async with (
        serving(dsn, upstream.base_url, on_disconnect="cancel") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        asking = asyncio.create_task(post(http, holder, STREAM if stream else CHAT))
        await gate.reached.wait()
        asking.cancel()
        await asyncio.wait([asking])
        await upstream.until(lambda: len(upstream.disconnected) == 1)
        assert await until_ended(pool, holder) == ["settled"]
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert (charge["input"], charge["output"]) == (9, 2 if stream else 0)


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503, 529])
async def test_an_upstream_error_costs_nothing_and_arrives_as_it_came(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, status: int
) -> None:
    holder = await create_holder(pool, 1000)
    body = b'{"error": {"message": "no",  "type": "x", "param": null, "code": "y"}}'
    headers = [("content-type", "application/json"), ("retry-after", "7")]
    upstream.script(Response(status=status, headers=headers, body=body))
    response = await post(http, holder, CHAT)
    assert (response.status_code, response.content) == (status, body)
    assert response.headers["retry-after"] == "7"
    assert await until_ended(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).balance == 1000


@pytest.mark.parametrize("status", [401, 403])
async def test_an_upstream_that_refuses_the_operators_key_is_a_502(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, status: int
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(Response(status=status, body=b'{"error":{"message":"key sk-123 is wrong"}}'))
    response = await post(http, holder, CHAT)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_auth"
    assert "sk-123" not in response.text
    assert await until_ended(pool, holder) == ["voided"]


async def test_an_upstream_that_cannot_be_reached_is_a_502_and_free(dsn: str, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    async with (
        serving(dsn, f"http://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder, CHAT)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert await until_ended(pool, holder) == ["voided"]


async def test_an_upstream_that_hangs_up_before_it_answers_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(Response(raw=b""))
    response = await post(http, holder, CHAT)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert await until_ended(pool, holder) == ["voided"]


async def test_an_upstream_that_is_silent_for_too_long_is_a_504_and_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.READ_TIMEOUT_S", 0.2)
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(Response(head_gate=gate))
    response = await post(http, holder, CHAT)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "upstream_timeout"
    assert await until_ended(pool, holder) == ["voided"]


@pytest.mark.parametrize("reset", [False, True])
async def test_a_stream_that_breaks_off_is_charged_for_what_arrived_and_says_so(
    pool: Pool, sdk: Sdk, upstream: ScriptedUpstream, reset: bool
) -> None:
    holder = await create_holder(pool, 1000)
    sent = content("one two") + content(" three")
    upstream.script(
        Response(
            headers=[("content-type", "text/event-stream")],
            body=[sent, b"never sent"],
            cut_after=len(sent),
            reset=reset,
        )
    )
    stream = await sdk(holder).chat.completions.create(**STREAM)
    texts: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content)  # noqa: PERF401 - kept when it raises

    with pytest.raises(openai.APIError, match="broke off"):
        await read()
    assert "".join(texts) == "one two three"
    (charge,) = await charges_of(pool, holder)
    assert (charge["input"], charge["output"], charge["estimated"]) == (9, 3, True)


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED])
async def test_a_document_that_breaks_off_is_never_a_retryable_status(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, framing: Framing
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(
        Response(body=b'{"choices":[{"message":{"content":"on', framing=framing, cut_after=20)
    )
    response = await post(http, holder, CHAT)
    assert response.status_code == 424
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["code"] == "upstream_incomplete"
    assert await until_ended(pool, holder) == ["settled"]
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]


async def test_an_error_event_before_any_output_costs_nothing(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    event = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    upstream.script(event_stream(event))
    response = await post(http, holder, STREAM)
    assert response.content == event
    assert await until_ended(pool, holder) == ["voided"]


async def test_a_stream_without_done_or_usage_is_counted(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(event_stream(content("one two three")))
    response = await post(http, holder, STREAM)
    assert response.content == content("one two three")
    (charge,) = await charges_of(pool, holder)
    assert (charge["output"], charge["estimated"]) == (3, True)


async def test_a_database_that_is_away_means_503_and_nothing_is_dispatched(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    async with (
        serving(dsn.replace("/test_", "/no_such_"), upstream.base_url) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder, CHAT)
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "service_unavailable"
        assert response.headers["retry-after"] == "1"
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200
    assert upstream.requests == []


async def test_without_an_upstream_key_v1_says_so(dsn: str, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    async with serving(dsn, None) as url, httpx2.AsyncClient(base_url=url) as http:
        response = await post(http, holder, CHAT)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "upstream_not_configured"


async def test_settlements_wait_for_the_database_to_come_back(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(event_stream(content("a"), gate, USAGE, DONE))
    asking = asyncio.create_task(post(http, holder, STREAM))
    await gate.reached.wait()
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    gate.open()
    assert (await asking).status_code == 200
    assert await until_ended(pool, holder) == ["settled"]
    assert (await account_of(pool, holder)).balance == 988


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionResetError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 11"),
        asyncpg.AdminShutdownError("terminating connection"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_settlement_is_tried_until_it_is_committed(
    pool: Pool, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    holder = await create_holder(pool, 1000)
    commit = Book.settle
    faults = [fault, fault]

    async def settle(
        book: Book, hold: Hold, usage: Usage, trace: Trace, objects: str | None
    ) -> Charge | None:
        if faults:
            raise faults.pop()
        return await commit(book, hold, usage, trace, objects)

    monkeypatch.setattr(Book, "settle", settle)
    response = await post(http, holder, CHAT)
    assert response.status_code == 200
    # The client need not wait for what is safe on the disk.
    assert await until_ended(pool, holder) == ["settled"]
    assert not faults
    assert len(await charges_of(pool, holder)) == 1
