"""Requests that wait for their account's own holds, seen from the client: who is answered, when."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import account_of, create_holder, hold_states
from tests.support.chat import DONE, MESSAGES, STREAM, USAGE, content
from tests.support.server_process import serving_process, upstream_settings
from tests.support.upstream import ScriptedUpstream, event_stream
from tests.support.waiting import (
    HOLD,
    PATIENCE_S,
    Client,
    client_of,
    gated,
    message_of,
    response_of,
    until_waiting,
)
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def client(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[Client]:
    async with client_of(dsn, upstream) as client:
        yield client


@pytest.fixture
async def holder(pool: Pool) -> AsyncIterator[Holder]:
    """Somebody who can afford one `STREAM` at a time; the books are sound afterwards."""
    yield await create_holder(pool, 2 * HOLD - 1)
    assert (await audit(pool)).violations == []


async def test_a_request_waits_for_the_one_before_and_is_answered(
    pool: Pool, client: Client, upstream: ScriptedUpstream, holder: Holder
) -> None:
    (gate,) = gated(upstream)
    first = client.begin(holder)
    await upstream.received()
    second = client.begin(holder)
    await until_waiting(pool, 1)
    assert len(upstream.requests) == 1
    gate.open()
    async with asyncio.timeout(PATIENCE_S):
        assert [(await task).status_code for task in (first, second)] == [200, 200]
    await until_waiting(pool, 0)
    assert await hold_states(pool, holder) == ["settled", "settled"]


async def test_the_earlier_request_goes_first_though_the_hold_ends_in_the_other_product(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gates = gated(upstream, 3)
    async with client_of(dsn, upstream) as one, client_of(dsn, upstream) as two:
        holding = one.begin(holder)
        await upstream.received(1)
        earlier = two.begin(holder, {**STREAM, "user": "earlier"})
        await until_waiting(pool, 1)
        later = one.begin(holder, {**STREAM, "user": "later"})
        await until_waiting(pool, 2)
        gates[0].open()
        assert (await holding).status_code == 200
        await upstream.received(2)
        await until_waiting(pool, 1)
        gates[1].open()
        assert (await earlier).status_code == 200
        await upstream.received(3)
        gates[2].open()
        assert (await later).status_code == 200
    assert [request.json().get("user") for request in upstream.requests] == [
        None,
        "earlier",
        "later",
    ]


def tasks_that_wait() -> list[asyncio.Task[Any]]:
    """The tasks of the product's that have to do with a request that waits."""
    names = re.compile(r"Waiters|wait_for_hold|Settler|cancelling_when_gone")
    return [task for task in asyncio.all_tasks() if names.search(repr(task.get_coro()))]


async def test_a_client_that_leaves_the_queue_leaves_nothing_behind(
    pool: Pool, client: Client, upstream: ScriptedUpstream, holder: Holder
) -> None:
    (gate,) = gated(upstream)
    first = client.begin(holder)
    await upstream.received()
    second = client.begin(holder)
    await until_waiting(pool, 1)
    assert tasks_that_wait()
    second.cancel()
    await until_waiting(pool, 0)
    async with asyncio.timeout(PATIENCE_S):
        while tasks_that_wait():
            await asyncio.sleep(0.005)
    assert (await account_of(pool, holder)).held == HOLD
    gate.open()
    assert (await first).status_code == 200
    assert len(upstream.requests) == 1
    # The second may have left in the middle of an attempt that placed its hold.
    states = await hold_states(pool, holder)
    assert states in (["settled"], ["settled", "voided"])
    assert (await account_of(pool, holder)).held == 0


async def test_clients_that_leave_at_any_moment_of_their_turn_leave_nothing_held(
    pool: Pool, client: Client, upstream: ScriptedUpstream, holder: Holder
) -> None:
    (gate,) = gated(upstream)
    first = client.begin(holder)
    await upstream.received()
    waiting = [client.begin(holder) for _ in range(12)]
    await until_waiting(pool, 12)
    gate.open()
    # Each turn takes some milliseconds, so that these meet every part of one.
    for number, task in enumerate(waiting):
        await asyncio.sleep(0.001 * (number % 4))
        task.cancel()
    assert (await first).status_code == 200
    await until_waiting(pool, 0)
    async with asyncio.timeout(PATIENCE_S):
        while (await account_of(pool, holder)).held:
            await asyncio.sleep(0.01)
    assert (await client.ask(holder)).status_code == 200


async def test_those_who_wait_keep_no_connection_from_others(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gates = gated(upstream, 1)
    async with client_of(dsn, upstream, database_pool_size=1) as client:
        first = client.begin(holder)
        await upstream.received()
        waiting = [client.begin(holder) for _ in range(20)]
        await until_waiting(pool, 20)
        other = await create_holder(pool, 10_000)
        async with asyncio.timeout(PATIENCE_S):
            responses = await asyncio.gather(*(client.ask(other) for _ in range(20)))
        assert {response.status_code for response in responses} == {200}
        upstream.always(event_stream(content("x"), USAGE, DONE))
        gates[0].open()
        async with asyncio.timeout(PATIENCE_S):
            _ = await asyncio.gather(first, *waiting)
    assert {task.result().status_code for task in waiting} <= {200, 402}
    # 117 credits: nine answers of 12, the first among them, and 9 that are enough for nobody.
    assert sum(task.result().status_code == 200 for task in waiting) == 8
    assert (await account_of(pool, holder)).balance == 9


async def test_the_waiters_of_a_killed_server_do_not_hold_up_those_of_another(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder, tmp_path: Path
) -> None:
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **upstream_settings(upstream),
        "DATABASE_URL": dsn,
        "TOKENBALANCE_DATA_DIR": str(tmp_path / "data"),
    }
    gates = gated(upstream, 1)
    async with (
        client_of(dsn, upstream) as client,
        serving_process(tmp_path, environment) as killed,
        Client(base_url=killed.url, timeout=60) as client_of_killed,
    ):
        first = client.begin(holder)
        await upstream.received()
        lost = client_of_killed.begin(holder)
        await until_waiting(pool, 1)
        waiting = client.begin(holder)
        await until_waiting(pool, 2)
        killed.send_signal(signal.SIGKILL)
        gates[0].open()
        assert (await first).status_code == 200
        async with asyncio.timeout(PATIENCE_S):
            assert (await waiting).status_code == 200
        with pytest.raises(httpx2.TransportError):
            _ = await lost
    assert len(upstream.requests) == 2
    assert await hold_states(pool, holder) == ["settled", "settled"]


async def test_of_many_at_once_over_two_products_exactly_the_affordable_are_answered(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    hold = 9 + 20
    holder = await create_holder(pool, 30 * hold)
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 20}
    upstream.always(response_of(hold))
    lowest = 30 * hold
    violations: list[str] = []
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(dsn, upstream)) for _ in range(2)]
        asking = [clients[number % 2].begin(holder, body) for number in range(120)]
        async with asyncio.timeout(PATIENCE_S * 2):
            while not all(task.done() for task in asking):
                account = await account_of(pool, holder)
                assert 0 <= account.held <= account.balance
                lowest = min(lowest, account.balance)
                violations += (await audit(pool)).violations
        statuses = Counter(task.result().status_code for task in asking)
    assert statuses == {200: 30, 402: 90}
    assert len(upstream.requests) == 30
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (0, 0)
    assert (lowest >= 0, violations) == (True, [])
    assert (await audit(pool)).violations == []
    await until_waiting(pool, 0)


async def test_a_balance_becomes_answers_to_its_end_and_nobody_is_refused_before(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    used, responses = 15, 100
    holder = await create_holder(pool, responses * used)
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 51}
    upstream.always(response_of(used))

    async def spend(client: Client) -> tuple[int, int]:
        """Ask until refused; gives how often it was answered, and the balance it was told."""
        responded = 0
        while (response := await client.ask(holder, body)).status_code == 200:
            responded += 1
        told = re.search(r"balance (\d+)", message_of(response))
        assert told
        return responded, int(told[1])

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(dsn, upstream)) for _ in range(2)]
        async with asyncio.timeout(PATIENCE_S * 2):
            spent = await asyncio.gather(*(spend(clients[number % 2]) for number in range(24)))
    assert {balance for _, balance in spent} == {0}
    assert sum(responded for responded, _ in spent) == responses
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (0, 0)
    assert (await audit(pool)).violations == []
