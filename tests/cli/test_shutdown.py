from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import orjson
import pytest

from tests.support.books import Holder, account_of, charges_of, create_holder, hold_states
from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.server_process import (
    OpenStream,
    ServerProcess,
    serving_process,
    upstream_settings,
)
from tests.support.upstream import Gate, ScriptedUpstream, event_stream
from tokenbalance.wire.server.lifecycle import CLOSE_S, CUT_S, STOPPING, Server, build_config
from tokenbalance.wire.server.listener import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

SLOW = {**STREAM, "model": "slow", "max_tokens": 2000}


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1_000_000)


@asynccontextmanager
async def serving(
    cli: Cli, *options: str, **settings: str
) -> AsyncGenerator[tuple[ServerProcess, httpx2.AsyncClient]]:
    environment = {**cli.environment, **settings}
    async with (
        serving_process(cli.folder, environment, *options) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        yield server, client


def asks(words: int) -> dict[str, object]:
    """A chat to which the sandbox responds slowly, with so many words."""
    return {**SLOW, "messages": [{"role": "user", "content": f"write {words} words"}]}


async def test_a_running_stream_ends_as_usual_while_connections_are_refused(
    cli: Cli, pool: Pool, holder: Holder, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    upstream.script(event_stream(content("one"), gate, content("two"), USAGE, DONE))
    async with serving(cli, **upstream_settings(upstream)) as (server, client):
        stream = await OpenStream.begin(client, holder, STREAM)
        server.send_signal(signal.SIGTERM)
        await server.until_refused()
        # A second one changes nothing.
        server.send_signal(signal.SIGTERM)
        gate.open()

        *_, two, done = await stream.rest()
        assert orjson.loads(two)["choices"][0]["delta"] == {"content": "two"}
        assert done == "[DONE]"
        assert await server.ended() == 0
        assert await server.all_ended() == ""
    (charge,) = await charges_of(pool, holder)
    assert (charge["total"], charge["estimated"]) == (12, False)


async def test_a_slow_response_of_the_sandbox_ends_as_usual(
    cli: Cli, pool: Pool, holder: Holder
) -> None:
    async with serving(cli, "--sandbox") as (server, client):
        stream = await OpenStream.begin(client, holder, asks(words=20))
        server.send_signal(signal.SIGINT)
        assert (await stream.rest())[-1] == "[DONE]"
        assert await server.ended() == 0
    assert await hold_states(pool, holder) == ["settled"]
    assert cli.json("ledger", "verify")["ok"] is True


async def test_streams_that_outlast_the_limit_are_cut_and_charged_for_what_was_seen(
    cli: Cli, pool: Pool, holder: Holder
) -> None:
    async with serving(cli, "--sandbox", TOKENBALANCE_SHUTDOWN_S="1") as (server, client):
        streams = [
            await OpenStream.begin(client, holder, {**asks(words=2000), "model": model})
            for model in ("slow", "stall")
        ]
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        for stream in streams:
            assert "[DONE]" not in await stream.rest()
        assert await server.ended() == 0
        assert time.monotonic() - began < 1 + CUT_S + CLOSE_S
    charges = await charges_of(pool, holder)
    assert [charge["estimated"] for charge in charges] == [True, True]
    assert all(charge["output"] > 0 for charge in charges)
    assert await hold_states(pool, holder) == ["settled", "settled"]
    assert (await account_of(pool, holder)).held == 0
    assert cli.json("ledger", "verify")["ok"] is True


async def test_at_the_limit_only_a_request_that_was_not_sent_may_be_sent_again(
    cli: Cli, pool: Pool, holder: Holder, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    upstream.script(event_stream(content("one"), Gate()), event_stream(gate))
    settings = {**upstream_settings(upstream), "TOKENBALANCE_SHUTDOWN_S": "0"}
    async with serving(cli, **settings) as (server, client):
        stream = await OpenStream.begin(client, holder, STREAM)
        not_begun = asyncio.create_task(
            client.post("/v1/chat/completions", headers=holder.headers, json=asks(10))
        )
        await gate.reached.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head, _, _ = chat(holder).rpartition(b"\r\n\r\n")
        writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"

        server.send_signal(signal.SIGTERM)

        not_sent = await reader.read()
        assert not_sent.startswith(b"HTTP/1.1 503 ")
        assert orjson.loads(not_sent.partition(b"\r\n\r\n")[2])["error"]["code"]
        # The upstream had been asked, so that a client must not buy the same again.
        assert (await not_begun).status_code < 500
        # The last event of a stream that is cut says so.
        *_, last = await stream.rest()
        assert orjson.loads(last)["error"]["message"]
        writer.close()
        await writer.wait_closed()
        assert await server.ended() == 0
    assert await hold_states(pool, holder) == ["settled", "settled"]


async def test_a_second_sigint_cuts_at_once_and_charges_anyway(
    cli: Cli, pool: Pool, holder: Holder, upstream: ScriptedUpstream
) -> None:
    upstream.script(event_stream(content("one"), Gate()))
    settings = {**upstream_settings(upstream), "TOKENBALANCE_SHUTDOWN_S": "3600"}
    async with serving(cli, **settings) as (server, client):
        stream = await OpenStream.begin(client, holder, STREAM)
        server.send_signal(signal.SIGINT)
        await server.until_refused()
        server.send_signal(signal.SIGINT)
        assert "[DONE]" not in await stream.rest()
        assert await server.ended(CUT_S + CLOSE_S) == 0
    assert await hold_states(pool, holder) == ["settled"]


async def test_a_connection_that_is_still_open_learns_that_the_server_is_stopping(
    cli: Cli, holder: Holder, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    upstream.script(event_stream(content("one"), gate, USAGE, DONE))
    async with serving(cli, **upstream_settings(upstream)) as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(chat(holder) + b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.reached.wait()
        server.send_signal(signal.SIGTERM)
        await server.until_refused()
        gate.open()
        responses = await reader.read()
        assert b"HTTP/1.1 503" in responses
        assert responses.endswith(b'{"status":"stopping","database":"ok","journal":"ok"}')
        writer.close()
        await writer.wait_closed()
        assert await server.ended() == 0


@dataclass
class Stubborn:
    """An application with endless responses, which is slow to end one and remembers everything."""

    events: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                _ = await receive()
                self.events.append(step)
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.events.append("begun")
        await send({"type": "http.response.start", "status": 200})
        self.begun.set()
        try:
            await scope["state"][STOPPING].wait()
            self.events.append("told")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.events.append("cut")
            await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b"the last word"})
        self.events.append("ended")


async def test_the_application_is_closed_after_what_was_cut_has_had_its_last_word() -> None:
    app = Stubborn()
    listener = listen("127.0.0.1", 0)
    config = build_config(lambda: app, shutdown_s=0.1)  # pyright: ignore[reportArgumentType] - ASGI
    server = Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    await app.begun.wait()
    server.should_exit = True

    async with asyncio.timeout(CUT_S + CLOSE_S):
        assert (await reader.read()).endswith(b"the last word\r\n0\r\n\r\n")
        await serving
    writer.close()
    await writer.wait_closed()
    # The second request, behind the first on its connection, has not begun.
    assert app.events == ["startup", "begun", "told", "cut", "ended", "shutdown"]


def chat(holder: Holder) -> bytes:
    """A request as its bytes."""
    body = orjson.dumps(STREAM)
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: x",
        *(f"{name}: {value}" for name, value in holder.headers.items()),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
