from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import Holder, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.server_process import (
    SERVE,
    OpenStream,
    ServerProcess,
    serving_process,
    upstream_settings,
)
from tests.support.upstream import Gate, ScriptedUpstream, event_stream
from tokenbalance.wire.server.lifecycle import CLOSE_S, CUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

STREAMS = 6
# Serves like SERVE, by a supervisor that gives a worker no time beyond the requests' own.
HURRIED = (
    "from tokenbalance import cli; from tokenbalance.wire.server import lifecycle;"
    " lifecycle.CUT_S = lifecycle.CLOSE_S = 0.0; cli.main()"
)
IMPATIENT = (
    sys.executable,
    "-c",
    HURRIED,
    *SERVE[3:],
)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1_000_000)


@asynccontextmanager
async def two_workers(
    cli: Cli, settings: Mapping[str, str], command: tuple[str, ...] = SERVE
) -> AsyncGenerator[ServerProcess]:
    environment = {**cli.environment, "WEB_CONCURRENCY": "2", **settings}
    async with serving_process(cli.folder, environment, command=command) as server:
        assert len(server.workers) == 2
        yield server


async def responses(server: ServerProcess, holder: Holder) -> bool:
    """Send a request on a new connection, so that any worker may get it."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client:
        response = await client.post("/v1/chat/completions", headers=holder.headers, json=CHAT)
    return response.is_success


async def begin_streams(
    server: ServerProcess, holder: Holder, clients: list[httpx2.AsyncClient]
) -> list[OpenStream]:
    clients += [httpx2.AsyncClient(base_url=server.url, timeout=30) for _ in range(STREAMS)]
    return [await OpenStream.begin(client, holder, STREAM) for client in clients]


@pytest.fixture
async def clients() -> AsyncGenerator[list[httpx2.AsyncClient]]:
    """Of one connection each, so that both workers get some."""
    clients: list[httpx2.AsyncClient] = []
    yield clients
    for client in clients:
        await client.aclose()


async def test_each_worker_responds_alone_and_is_replaced_when_it_is_killed(
    cli: Cli, holder: Holder, upstream: ScriptedUpstream
) -> None:
    async with two_workers(cli, upstream_settings(upstream)) as server:
        first, second = server.workers
        for worker in (first, second):
            os.kill(worker, signal.SIGSTOP)
            assert await responses(server, holder)
            os.kill(worker, signal.SIGCONT)
        os.kill(first, signal.SIGKILL)
        assert await responses(server, holder)
        third = await server.until_workers(3)
        # Now the new one must respond.
        os.kill(second, signal.SIGSTOP)
        assert await responses(server, holder)
        os.kill(second, signal.SIGCONT)
        assert third not in {first, second}
        server.send_signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert await server.all_ended() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers start empty")
async def test_workers_share_the_memory_of_what_the_supervisor_has_loaded(
    cli: Cli, upstream: ScriptedUpstream
) -> None:
    async with two_workers(cli, upstream_settings(upstream)) as server:
        # Their own application, their own connections; both vocabularies alone have 70 MB.
        assert all(own_bytes(worker) < 50_000_000 < all_bytes(worker) for worker in server.workers)


def own_bytes(pid: int) -> int:
    """The memory that a process shares with no other."""
    return sum(memory_of(pid, field) for field in ("Private_Dirty", "Private_Clean"))


def all_bytes(pid: int) -> int:
    return memory_of(pid, "Rss")


def memory_of(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


async def test_a_worker_that_cannot_be_replaced_now_is_replaced_later(
    cli: Cli, holder: Holder, upstream: ScriptedUpstream
) -> None:
    key_file = cli.folder / "key"
    key_file.write_text("sk-upstream")
    settings = {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEY_FILE": str(key_file),
    }
    async with two_workers(cli, settings) as server:
        key_file.rename(cli.folder / "away")
        os.kill(server.workers[0], signal.SIGKILL)
        await said(server, "OPENAI_API_KEY_FILE: cannot be read")
        assert await responses(server, holder)
        (cli.folder / "away").rename(key_file)
        _ = await server.until_workers(3)
        assert await responses(server, holder)
        server.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def said(server: ServerProcess, line: str) -> None:
    """Wait for a line on standard error."""
    async with asyncio.timeout(30):
        while line not in server.log.read_text("utf-8"):
            await asyncio.sleep(0.02)


async def test_streams_of_both_workers_end_as_usual_on_sigterm(
    cli: Cli,
    pool: Pool,
    holder: Holder,
    upstream: ScriptedUpstream,
    clients: list[httpx2.AsyncClient],
) -> None:
    gate = Gate()
    upstream.always(event_stream(content("one"), gate, USAGE, DONE))
    async with two_workers(cli, upstream_settings(upstream)) as server:
        streams = await begin_streams(server, holder, clients)
        server.send_signal(signal.SIGTERM)
        await server.until_refused()
        server.send_signal(signal.SIGTERM)
        gate.open()
        assert [(await stream.rest())[-1] for stream in streams] == ["[DONE]"] * STREAMS
        assert await server.ended() == 0
        assert await server.all_ended() == ""
    assert [charge["total"] for charge in await charges_of(pool, holder)] == [12] * STREAMS
    assert cli.json("ledger", "verify")["ok"] is True


@pytest.mark.parametrize(
    ("limit_s", "signals"), [("1", [signal.SIGTERM]), ("3600", [signal.SIGINT, signal.SIGINT])]
)
async def test_streams_of_both_workers_are_cut_at_the_same_time(
    cli: Cli,
    pool: Pool,
    holder: Holder,
    upstream: ScriptedUpstream,
    clients: list[httpx2.AsyncClient],
    limit_s: str,
    signals: list[signal.Signals],
) -> None:
    upstream.always(event_stream(content("one"), Gate()))
    settings = {**upstream_settings(upstream), "TOKENBALANCE_SHUTDOWN_S": limit_s}
    async with two_workers(cli, settings) as server:
        streams = await begin_streams(server, holder, clients)
        began = time.monotonic()
        for number in signals:
            server.send_signal(number)
            await server.until_refused()
        for stream in streams:
            assert "[DONE]" not in await stream.rest()
        assert await server.ended() == 0
        assert time.monotonic() - began < 1 + CUT_S + CLOSE_S
    assert await hold_states(pool, holder) == ["settled"] * STREAMS


async def test_workers_end_their_streams_and_themselves_when_the_supervisor_is_killed(
    cli: Cli,
    pool: Pool,
    holder: Holder,
    upstream: ScriptedUpstream,
    clients: list[httpx2.AsyncClient],
) -> None:
    gate = Gate()
    upstream.always(event_stream(content("one"), gate, USAGE, DONE))
    async with two_workers(cli, upstream_settings(upstream)) as server:
        streams = await begin_streams(server, holder, clients)
        server.send_signal(signal.SIGKILL)
        assert await server.ended() == -signal.SIGKILL
        await server.until_refused()
        gate.open()
        assert [(await stream.rest())[-1] for stream in streams] == ["[DONE]"] * STREAMS
        assert await server.all_ended() == ""
        with socket.create_server(("127.0.0.1", server.port)):
            pass
    assert await hold_states(pool, holder) == ["settled"] * STREAMS


async def test_a_worker_that_hangs_at_the_end_is_killed(
    cli: Cli, upstream: ScriptedUpstream
) -> None:
    settings = {**upstream_settings(upstream), "TOKENBALANCE_SHUTDOWN_S": "0"}
    async with two_workers(cli, settings, IMPATIENT) as server:
        hanging, _ = server.workers
        os.kill(hanging, signal.SIGSTOP)
        server.send_signal(signal.SIGTERM)
        assert await server.ended(limit_s=10) == 0
        assert await server.all_ended() == ""
        assert f"Worker {hanging} did not end in time and is killed." in server.log.read_text()
