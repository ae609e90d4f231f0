"""Requests that wait for others of the same limit, on two servers; and SDKs that try again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import openai
import pytest

from tests.support.books import account_of
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.limited_keys import create_limited, limit
from tests.support.upstream import Gate, event_stream
from tests.support.waiting import client_of
from tokenbalance.proxy.limits import storms

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions

AMPLE = 10_000_000
CHATS = "/v1/chat/completions"


async def ask(http: httpx2.AsyncClient, holder: Holder) -> httpx2.Response:
    return await http.post(CHATS, json=STREAM, headers=holder.headers)


@pytest.fixture
def gate(upstream: ScriptedUpstream) -> Gate:
    """What holds the next response back."""
    gate = Gate()
    upstream.script(event_stream(content("Hi"), gate, USAGE, DONE))
    return gate


@asynccontextmanager
async def opened(gate: Gate) -> AsyncGenerator[None]:
    """Open a gate at the end, so that servers can stop whatever has failed."""
    try:
        yield
    finally:
        gate.open()


async def test_a_request_beyond_those_in_parallel_waits_for_one_of_them(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    gate: Gate,
    shared_dsn: str,
) -> None:
    holder = await create_limited(pool, sessions, {"parallel_requests": 1}, balance=AMPLE)
    other = await create_limited(pool, sessions, {"parallel_requests": 1}, balance=AMPLE)
    async with (
        client_of(shared_dsn, upstream) as elsewhere,
        opened(gate),
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(ask(http, holder))
        await gate.reached.wait()
        waiting = [group.create_task(ask(each, holder)) for each in (http, elsewhere)]
        assert (await ask(http, other)).status_code == 200
        assert len(upstream.requests) == 2
        gate.open()
    assert [task.result().status_code for task in (first, *waiting)] == [200] * 3
    reserved = "SELECT reserved FROM limits WHERE account_id = $1"
    assert await pool.fetchval(reserved, holder.account_id) == 0
    assert (await account_of(pool, holder)).held == 0


@pytest.mark.parametrize("name", ["tokens_per_day", "credits_per_day", "credits_total"])
async def test_who_waits_is_lowered_to_what_those_in_front_have_left(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    gate: Gate,
    name: str,
) -> None:
    """Each asks for 59 of 60 and uses 12."""
    holder = await create_limited(pool, sessions, {name: 60}, balance=AMPLE)
    upstream.always(event_stream(content("Hi"), USAGE, DONE))
    async with opened(gate), asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(http, holder)) for _ in range(4)]
        await gate.reached.wait()
        gate.open()
    answers = [task.result() for task in asked]
    assert [each.status_code for each in answers] == [200] * 4, [each.text for each in answers]
    caps = sorted(int(each.headers.get("x-tokenbalance-output-cap", 50)) for each in answers)
    assert caps == [24 - 9, 36 - 9, 48 - 9, 50]
    used = "SELECT used FROM limits WHERE account_id = $1"
    assert await pool.fetchval(used, holder.account_id) == 48


@pytest.mark.parametrize(("after", "status"), [({}, 200), ({"models": ["o3"]}, 403)])
async def test_who_waits_is_judged_by_the_limits_that_its_key_has_by_now(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    gate: Gate,
    after: dict[str, list[str]],
    status: int,
) -> None:
    holder = await create_limited(pool, sessions, {"parallel_requests": 1}, balance=AMPLE)
    waiters = "SELECT count(*) FROM waiters WHERE account_id = $1"
    async with opened(gate), asyncio.TaskGroup() as group:
        first = group.create_task(ask(http, holder))
        await gate.reached.wait()
        waiting = group.create_task(ask(http, holder))
        async with asyncio.timeout(10):
            while not await pool.fetchval(waiters, holder.account_id):
                await asyncio.sleep(0)
        await limit(sessions, holder, {"parallel_requests": 1, **after})
        gate.open()
        async with asyncio.timeout(10):
            assert (await waiting).status_code == status
    assert first.result().status_code == 200


async def test_who_waits_in_vain_is_told_what_for(
    pool: Pool, sessions: Sessions, upstream: ScriptedUpstream, gate: Gate, shared_dsn: str
) -> None:
    holder = await create_limited(pool, sessions, {"parallel_requests": 1}, balance=AMPLE)
    async with (
        client_of(shared_dsn, upstream, hold_wait_s=0) as http,
        opened(gate),
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(ask(http, holder))
        await gate.reached.wait()
        refused = await ask(http, holder)
        error = refused.json()["error"]
        assert (refused.status_code, error["type"]) == (429, "concurrent_requests")
        assert error["code"] == "rate_limit_exceeded"
        assert "requests in progress: Limit 1, Used 1, Requested 1" in error["message"]
        assert refused.headers["x-tokenbalance-limit"] == "key.parallel_requests"
        assert refused.headers["retry-after-ms"] == "1000"
        gate.open()
    assert first.result().status_code == 200
    assert len(upstream.requests) == 1


async def test_two_servers_admit_together_what_a_rate_allows(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    shared_dsn: str,
) -> None:
    holder = await create_limited(pool, sessions, {"requests_per_minute": 2}, balance=AMPLE)
    async with client_of(shared_dsn, upstream) as elsewhere:
        asked = [ask(each, holder) for each in (http, elsewhere) for _ in range(8)]
        statuses = [each.status_code for each in await asyncio.gather(*asked)]
    assert sorted(statuses) == [200] * 2 + [429] * 14
    assert len(upstream.requests) == 2


async def test_an_sdk_that_tries_again_when_it_was_told_to_succeeds(
    pool: Pool,
    sessions: Sessions,
    product: str,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder = await create_limited(pool, sessions, {"requests_per_minute": 2}, balance=AMPLE)
    slept: list[float] = []

    async def pass_time(seconds: float) -> None:
        slept.append(seconds)
        await pool.execute(
            "UPDATE limits SET taken_until = taken_until - $2 * interval '1 s'"
            " WHERE account_id = $1",
            holder.account_id,
            seconds,
        )

    monkeypatch.setattr("openai._base_client.anyio.sleep", pass_time)
    monkeypatch.setattr(storms, "REMEMBERED_S", 0.0)
    async with openai.AsyncOpenAI(
        api_key=holder.secret, base_url=f"{product}/v1", max_retries=1
    ) as client:
        for _ in range(4):
            await client.chat.completions.create(**CHAT)
    assert len(slept) == 2
    assert len(upstream.requests) == 4


async def test_streams_have_the_headers_of_limits(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"requests_per_minute": 9}, balance=AMPLE)
    response = await ask(http, holder)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-ratelimit-remaining-requests"] == "8"
