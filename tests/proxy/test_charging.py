"""What is answered is charged: exactly the reported usage, before the client sees the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, USAGE, chunk, content
from tests.support.upstream import Gate, Response, ScriptedUpstream, event_stream

if TYPE_CHECKING:
    import httpx2

    from tests.support.chat import Sdk
    from tokenbalance.database.connections import Pool


async def test_a_chat_costs_its_total_tokens(pool: Pool, sdk: Sdk) -> None:
    holder = await create_holder(pool, 1000)
    response = await sdk(holder).chat.completions.create(**CHAT)
    assert response.usage is not None
    assert (await account_of(pool, holder)).balance == 1000 - response.usage.total_tokens
    (charge,) = await charges_of(pool, holder)
    assert charge["input"] == response.usage.prompt_tokens
    assert charge["output"] == response.usage.completion_tokens
    assert not charge["estimated"]


async def test_a_streamed_chat_costs_its_total_tokens(pool: Pool, sdk: Sdk) -> None:
    holder = await create_holder(pool, 1000)
    stream = await sdk(holder).chat.completions.create(
        **CHAT, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    usage = chunks[-1].usage
    assert usage is not None
    assert (await account_of(pool, holder)).balance == 1000 - usage.total_tokens


async def test_a_response_costs_its_total_tokens_streamed_and_not(pool: Pool, sdk: Sdk) -> None:
    holder = await create_holder(pool, 1000)
    client = sdk(holder)
    response = await client.responses.create(model="gpt-4o-mini", input="Hi", max_output_tokens=40)
    assert response.usage is not None
    stream = await client.responses.create(
        model="gpt-4o-mini", input="Hi", max_output_tokens=40, stream=True
    )
    events = [event async for event in stream]
    final = events[-1]
    assert final.type in {"response.completed", "response.incomplete"}
    assert final.response.usage is not None
    spent = response.usage.total_tokens + final.response.usage.total_tokens
    assert (await account_of(pool, holder)).balance == 1000 - spent


async def test_embeddings_and_legacy_completions_cost_their_total_tokens(
    pool: Pool, sdk: Sdk
) -> None:
    holder = await create_holder(pool, 1000)
    client = sdk(holder)
    embedding = await client.embeddings.create(model="text-embedding-3-small", input="some words")
    completion = await client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Once", max_tokens=10
    )
    assert completion.usage is not None
    spent = embedding.usage.total_tokens + completion.usage.total_tokens
    assert (await account_of(pool, holder)).balance == 1000 - spent
    assert [c["endpoint"] for c in await charges_of(pool, holder)] == [
        "/embeddings",
        "/completions",
    ]


async def test_models_moderations_and_token_counts_cost_nothing(pool: Pool, sdk: Sdk) -> None:
    holder = await create_holder(pool, 0)
    client = sdk(holder)
    assert (await client.models.list()).data
    assert (await client.models.retrieve("gpt-4o-mini")).id == "gpt-4o-mini"
    assert (await client.moderations.create(input="I want to hug you")).results
    counted = await client.responses.input_tokens.count(model="gpt-4o-mini", input="Hello")
    assert counted.input_tokens > 0
    assert await hold_states(pool, holder) == []


async def test_the_answer_says_what_it_cost_and_what_is_left(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, 1000)
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    total = response.json()["usage"]["total_tokens"]
    assert response.headers["x-tokenbalance-charge"] == str(total)
    assert response.headers["x-tokenbalance-balance"] == str(1000 - total)
    assert int(response.headers["x-tokenbalance-hold"]) >= total
    assert response.headers["x-tokenbalance-request-id"].startswith("tb_")
    assert "x-tokenbalance-output-cap" not in response.headers


async def test_the_charge_is_committed_before_the_last_bytes_of_a_stream_leave(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(event_stream(content("a"), content("b"), USAGE, DONE))
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    seen: dict[bytes, int] = {}
    async with http.stream(
        "POST", "/v1/chat/completions", json=body, headers=holder.headers
    ) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                seen[line.encode()] = (await account_of(pool, holder)).balance
    assert seen[USAGE.strip()] == 988
    assert seen[DONE.strip()] == 988


async def test_content_is_passed_on_at_once_while_the_upstream_is_silent(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(event_stream(content("first"), gate, content("second"), USAGE, DONE))
    body = {**CHAT, "stream": True}
    async with http.stream(
        "POST", "/v1/chat/completions", json=body, headers=holder.headers
    ) as response:
        bytes_seen = b""
        async for piece in response.aiter_raw():
            bytes_seen += piece
            if b"first" in bytes_seen and not gate.reached.is_set():
                await gate.reached.wait()
            if b"first" in bytes_seen:
                gate.open()
    assert b"second" in bytes_seen


async def test_no_database_connection_is_held_while_bytes_flow(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(event_stream(content("first"), gate, USAGE, DONE))
    async with http.stream(
        "POST", "/v1/chat/completions", json={**CHAT, "stream": True}, headers=holder.headers
    ) as response:
        await gate.reached.wait()
        # What runs beside the requests may be busy now, but not for as long as the answer stands.
        async with asyncio.timeout(20):
            while await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state <> 'idle'"
            ):
                await asyncio.sleep(0.01)
        assert (await account_of(pool, holder)).held > 0
        gate.open()
        await response.aread()
    assert (await account_of(pool, holder)).held == 0


async def test_usage_that_the_client_did_not_ask_for_is_asked_for_and_hidden(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    moderation = chunk(choices=[], moderation={"flagged": False})
    upstream.script(
        event_stream(content("a", usage=None), content("b", usage=None), USAGE, moderation, DONE)
    )
    response = await http.post(
        "/v1/chat/completions", json={**CHAT, "stream": True}, headers=holder.headers
    )
    assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    assert response.content == content("a") + content("b") + moderation + DONE
    assert (await account_of(pool, holder)).balance == 988


async def test_usage_that_the_client_asked_for_arrives_untouched(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    sent = content("a", usage=None) + USAGE + DONE
    upstream.script(event_stream(sent))
    response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    assert response.content == sent
    assert upstream.requests[0].json() == body


async def test_usage_that_came_unasked_reaches_a_client_that_had_not_asked(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    last = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=usage)
    blank = chunk(choices=[{"index": 0, "delta": {}}], usage=usage)
    upstream.script(event_stream(content("a"), last, blank, DONE))
    body = {**CHAT, "stream": True}
    response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    assert response.content == content("a") + last + DONE
    assert (await account_of(pool, holder)).balance == 988


async def test_an_answer_too_large_to_keep_is_passed_on_and_charged(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    vectors = b",".join([b"[" + b"0.123456789," * 2000 + b"1]"] * 400)
    document = b'{"data":[' + vectors + b'],"usage":{"prompt_tokens":7,"total_tokens":7}}'
    assert len(document) > 9_000_000
    upstream.script(Response(body=document))
    body = {"model": "text-embedding-3-small", "input": "seven"}
    response = await http.post("/v1/embeddings", json=body, headers=holder.headers)
    assert response.content == document
    assert (await account_of(pool, holder)).balance == 993


async def test_a_slow_client_slows_its_own_upstream_and_nobody_else(
    pool: Pool, http: httpx2.AsyncClient, product: str, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 100_000)
    events = [content("x" * 50_000)] * 1000
    upstream.script(event_stream(*events, USAGE, DONE))
    body = orjson.dumps({**CHAT, "stream": True})
    parts = urlsplit(product)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1024)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {holder.secret}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    slow = await upstream.received(1)
    for _ in range(30):
        response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
        assert response.status_code == 200
    # What the sockets and the buffers on the way take, of 50 MB.
    assert slow.bytes_sent < 25_000_000
    assert not slow.ended.is_set()
    while await reader.read(1_000_000):
        if slow.ended.is_set():
            break
    writer.close()
    await slow.ended.wait()
    assert slow.bytes_sent > 50_000_000
