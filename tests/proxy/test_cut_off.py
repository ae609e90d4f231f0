"""Requests that the server cuts off, as it does when it shuts down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.books import charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.locks import accounts_locked, until_blocked
from tests.support.product import product_app
from tests.support.upstream import Gate, Response, ScriptedUpstream, event_stream, json_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import Message

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

LIMIT_S = 10.0
ANSWERED: Any = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "one two"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


@pytest.fixture
async def app(dsn: str, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[FastAPI]:
    """The product without a server, so that a test can cancel a request of it."""
    app = product_app(dsn, upstream.base_url, data_dir=tmp_path)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


def serve(
    app: FastAPI, holder: Holder, document: dict[str, Any]
) -> tuple[asyncio.Task[None], list[Message]]:
    """Begin a request; also gives what is sent to its client."""
    sent: list[Message] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {holder.secret}".encode())],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": orjson.dumps(document), "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    return asyncio.ensure_future(app(scope, receive, send)), sent


def body_of(sent: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


async def until_ended(pool: Pool, holder: Holder) -> list[str]:
    async with asyncio.timeout(LIMIT_S):
        while "open" in (states := await hold_states(pool, holder)):
            await asyncio.sleep(0.01)
    return states


async def test_a_request_that_is_cancelled_by_the_server_is_settled(
    app: FastAPI, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gate = Gate()
    upstream.script(event_stream(content("one two"), gate, USAGE, DONE))
    serving, _ = serve(app, holder, STREAM)
    await gate.reached.wait()
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    assert await until_ended(pool, holder) == ["settled"]
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]


@pytest.mark.parametrize("document", [CHAT, STREAM], ids=["document", "stream"])
async def test_a_response_that_is_cut_off_while_its_charge_is_committed_is_not_called_free(
    app: FastAPI, pool: Pool, upstream: ScriptedUpstream, holder: Holder, document: dict[str, Any]
) -> None:
    gate = Gate()
    whole = json_response(ANSWERED)
    streams = document is STREAM
    upstream.script(
        event_stream(content("one two"), gate)
        if streams
        else Response(head_gate=gate, body=whole.body)
    )
    serving, sent = serve(app, holder, document)
    await gate.reached.wait()
    async with accounts_locked(pool):
        gate.open()
        await until_blocked(pool)
        serving.cancel()
        await asyncio.wait([serving])
    assert await until_ended(pool, holder) == ["settled"]
    assert len(await charges_of(pool, holder)) == 1
    assert sent[0]["status"] == (200 if streams else 424)
    assert b'"code":"upstream_incomplete"' in body_of(sent)
    assert b"charged" in body_of(sent)
