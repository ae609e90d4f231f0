"""`/metrics` of the served product: what was done is counted, once, by all workers together."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.cli.conftest import Cli
from tests.support.books import create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.fault_proxy import FaultProxy, database_target, dsn_through
from tests.support.product import serving
from tests.support.server_process import OpenStream, serving_process, upstream_settings
from tests.support.upstream import Gate, ScriptedUpstream, event_stream, json_response
from tests.telemetry.test_metrics import CHAT_200, found, values_in
from tokenbalance.telemetry import totals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@pytest.fixture
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the totals of the books be those of this moment."""
    monkeypatch.setattr(totals, "FRESH_S", 0.0)


async def metrics_of(http: httpx2.AsyncClient) -> dict[str, float]:
    response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return values_in(response.text)


async def chat(url: str, holder: Holder) -> None:
    """Ask on a connection of its own, so that any worker may be the one that answers."""
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        response = await http.post("/v1/chat/completions", headers=holder.headers, json=CHAT)
        assert response.is_success


async def test_the_time_to_the_first_byte_is_counted_of_streams(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    _ = await http.post("/v1/chat/completions", headers=holder.headers, json=STREAM)
    values = await metrics_of(http)
    first_byte = "tokenbalance_upstream_first_byte_seconds"
    assert values[f'{first_byte}_count{{endpoint="/chat/completions"}}'] == 1
    total = values['tokenbalance_request_duration_seconds_sum{endpoint="/chat/completions"}']
    assert 0 < values[f'{first_byte}_sum{{endpoint="/chat/completions"}}'] < total


@pytest.mark.usefixtures("always_looks")
async def test_requests_and_credits_are_counted_as_they_are_in_the_books(
    http: httpx2.AsyncClient, pool: Pool, holder: Holder
) -> None:
    response = await http.post("/v1/chat/completions", headers=holder.headers, json=CHAT)
    _ = await http.post("/v1/chat/completions", json=CHAT)
    _ = await http.get("/v1/of/no/use", headers=holder.headers)
    values = await metrics_of(http)
    assert not any(name.startswith("tokenbalance_upstream_first_byte") for name in values)
    charged = response.json()["usage"]["total_tokens"]
    assert values[CHAT_200] == 1
    assert values[CHAT_200.replace("200", "401")] == 1
    assert values['tokenbalance_requests_total{endpoint="unknown",status="404"}'] == 1
    assert values["tokenbalance_credits_charged_total"] == charged
    assert values["tokenbalance_balance_credits"] == 1000 - charged
    assert await pool.fetchval("SELECT sum(balance) FROM accounts") == 1000 - charged


@pytest.mark.usefixtures("always_looks")
async def test_what_is_in_progress_is_shown_and_gone_afterwards(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    upstream.script(event_stream(content("one"), gate, USAGE, DONE))
    stream = await OpenStream.begin(http, holder, STREAM)
    during = await metrics_of(http)
    gate.open()
    _ = await stream.rest()
    after = await metrics_of(http)
    assert during["tokenbalance_holds_open"] == during["tokenbalance_books_open_holds"] == 1
    assert during["tokenbalance_held_credits"] > 0
    assert after["tokenbalance_holds_open"] == after["tokenbalance_books_open_holds"] == 0
    assert after["tokenbalance_held_credits"] == 0
    assert after["tokenbalance_credits_charged_total"] == 12


async def test_usage_that_was_counted_and_usage_beyond_the_hold_are_told(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    upstream.script(
        json_response({"choices": [{"index": 0, "message": {"content": "Hi"}}]}),
        json_response({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 300}}),
    )
    holds = [
        int(
            (await http.post("/v1/chat/completions", headers=holder.headers, json=CHAT)).headers[
                "x-tokenbalance-hold"
            ]
        )
        for _ in range(2)
    ]
    values = await metrics_of(http)
    assert values["tokenbalance_charges_estimated_total"] == 1
    assert values["tokenbalance_credits_overrun_total"] == 309 - holds[1]


@pytest.mark.parametrize("how", [FaultProxy.cut, FaultProxy.black_hole])
async def test_metrics_are_told_without_the_database(
    dsn: str, upstream: ScriptedUpstream, holder: Holder, how: Callable[[FaultProxy], None]
) -> None:
    async with (
        FaultProxy(database_target(dsn)) as proxy,
        serving(dsn_through(proxy, dsn), upstream.base_url) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        await chat(url, holder)
        how(proxy)
        values = await metrics_of(http)
        assert values[CHAT_200] == 1
        assert values["tokenbalance_database_up"] == 0
        assert "tokenbalance_balance_credits" not in values


async def test_a_charge_whose_answer_was_lost_is_counted_once(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gate = Gate()
    async with (
        FaultProxy(database_target(dsn)) as proxy,
        serving(dsn_through(proxy, dsn), upstream.base_url, database_pool_size=1) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        # Whose statements are known to the one connection that there is.
        await chat(url, holder)
        before = await metrics_of(http)
        upstream.script(event_stream(content("one"), gate, USAGE, DONE))
        stream = await OpenStream.begin(http, holder, STREAM)
        proxy.drop_responses()
        gate.open()
        async with asyncio.timeout(30):
            while await hold_states(pool, holder) != ["settled", "settled"]:
                await asyncio.sleep(0.02)
        proxy.heal()
        _ = await stream.rest()
        async with asyncio.timeout(30):
            while (values := await metrics_of(http))["tokenbalance_settlements_pending"]:
                await asyncio.sleep(0.02)
    name = "tokenbalance_credits_charged_total"
    assert values[name] - before[name] == 12


async def test_metrics_name_no_user_key_or_model(http: httpx2.AsyncClient, holder: Holder) -> None:
    body: Mapping[str, object] = {**CHAT, "model": "a-model-of-my-own"}
    _ = await http.post("/v1/chat/completions", headers=holder.headers, json=body)
    _ = await http.get("/v1/models/a-model-of-my-own", headers=holder.headers)
    page = (await http.get("/metrics")).text
    for secret in (holder.secret, holder.secret[:8], "a-model-of-my-own", "example.com"):
        assert secret not in page


async def test_workers_count_together_through_a_kill_and_a_restart(
    dsn: str, tmp_path: Path, holder: Holder, upstream: ScriptedUpstream
) -> None:
    cli = Cli(
        tmp_path,
        {
            "DATABASE_URL": dsn,
            "TOKENBALANCE_DATA_DIR": str(tmp_path / "data"),
            "TMPDIR": str(tmp_path),
            "WEB_CONCURRENCY": "2",
            **upstream_settings(upstream),
        },
    )
    async with serving_process(tmp_path, cli.environment) as server:
        first, second = server.workers
        await chats_with(server.url, holder, still=second)
        await chats_with(server.url, holder, still=first)
        os.kill(first, signal.SIGKILL)
        third = await server.until_workers(3)
        await chats_with(server.url, holder, still=second)
        for still in (second, third):
            assert (await metrics_with(server.url, still))[CHAT_200] == 6
        await until_idle(server.url)
        server.send_signal(signal.SIGTERM)
        assert await server.ended() == 0
    assert not found(tmp_path, "tokenbalance-workers-*")


async def chats_with(url: str, holder: Holder, *, still: int) -> None:
    """Have two chats answered while one worker stands still, and so by the other."""
    os.kill(still, signal.SIGSTOP)
    await chat(url, holder)
    await chat(url, holder)
    os.kill(still, signal.SIGCONT)


async def metrics_with(url: str, still: int) -> dict[str, float]:
    """Read the metrics from the other worker."""
    os.kill(still, signal.SIGSTOP)
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        values = await metrics_of(http)
    os.kill(still, signal.SIGCONT)
    return values


async def until_idle(url: str) -> None:
    """Wait until both workers have published that nothing is in progress."""
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http, asyncio.timeout(30):
        while (values := await metrics_of(http))["tokenbalance_holds_open"]:
            await asyncio.sleep(0.05)
    assert values["tokenbalance_journal_healthy"] == 1


async def test_however_often_metrics_are_read_the_books_are_looked_at_once(
    http: httpx2.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "FRESH_S", 3600.0)
    _ = await create_holder(pool, 5)
    first = await metrics_of(http)
    _ = await create_holder(pool, 7)
    pages = await asyncio.gather(*(metrics_of(http) for _ in range(20)))
    assert {page["tokenbalance_balance_credits"] for page in [first, *pages]} == {5}
