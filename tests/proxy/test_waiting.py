"""Requests that wait for their account's own holds, seen from the client: who is answered, when."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from typing_extensions import override

from tests.support.books import account_of, create_holder, hold_states, placed
from tests.support.chat import DONE, MESSAGES, STREAM, USAGE, content
from tests.support.product import serving
from tests.support.server_process import serving_process, upstream_settings
from tests.support.upstream import Gate, ScriptedUpstream, event_stream, json_response
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database import statements

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.upstream import Response
    from tokenbalance.database.connections import Pool

PATIENCE_S = 20.0
HOLD = 9 + 50
"""Credits that `STREAM` wants."""
AT_ONCE_S = 10.0
"""Well below the 30 s that a request waits."""


@asynccontextmanager
async def client_of(
    dsn: str, upstream: ScriptedUpstream, **settings: Any
) -> AsyncGenerator[Client]:
    """Serve the product; yields its client."""
    async with (
        serving(dsn, upstream.base_url, **settings) as url,
        Client(base_url=url, timeout=60, limits=httpx2.Limits(max_connections=None)) as client,
    ):
        yield client


class Client(httpx2.AsyncClient):
    """Asks one product."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._refused = asyncio.Event()

    async def ask(self, holder: Holder, body: dict[str, Any] = STREAM) -> httpx2.Response:
        return await self.post("/v1/chat/completions", json=body, headers=holder.headers)

    async def until_refused(self) -> None:
        """Wait until one answer was an error."""
        await self._refused.wait()

    @override
    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        response = await super().send(request, **options)
        if response.is_error:
            self._refused.set()
        return response

    def begin(self, holder: Holder, body: dict[str, Any] = STREAM) -> asyncio.Task[httpx2.Response]:
        return asyncio.create_task(self.ask(holder, body))


@pytest.fixture
async def client(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[Client]:
    async with client_of(dsn, upstream) as client:
        yield client


@pytest.fixture
async def holder(pool: Pool) -> AsyncIterator[Holder]:
    """Somebody who can afford one `STREAM` at a time; the books are sound afterwards."""
    yield await create_holder(pool, 2 * HOLD - 1)
    assert (await audit(pool)).violations == []


def gated(upstream: ScriptedUpstream, count: int = 1) -> list[Gate]:
    """Let the next answers wait at a gate each before they report 12 tokens."""
    gates = [Gate() for _ in range(count)]
    upstream.script(*(event_stream(content("x"), gate, USAGE, DONE) for gate in gates))
    return gates


def response_of(total: int) -> Response:
    """An answer that used so many tokens in all."""
    return json_response(
        {"usage": {"prompt_tokens": 9, "completion_tokens": total - 9, "total_tokens": total}}
    )


async def until_waiting(pool: Pool, count: int) -> None:
    """Wait until so many requests stand in line."""
    async with asyncio.timeout(PATIENCE_S):
        while await pool.fetchval("SELECT count(*) FROM waiters") != count:
            await asyncio.sleep(0.005)


def message_of(response: httpx2.Response) -> str:
    """What is said of a balance that does not cover the request."""
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (402, "insufficient_quota")
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    return error["message"]


def message_of_held(response: httpx2.Response) -> str:
    """What is said of a balance that covers it, and is held."""
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (429, "balance_held")
    assert "x-should-retry" not in response.headers
    return error["message"]


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


async def test_without_a_time_to_wait_a_busy_account_is_refused_at_once(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    _ = await placed(Book(pool), holder, "a", 60)
    async with client_of(dsn, upstream, hold_wait_s=0) as client, asyncio.timeout(AT_ONCE_S):
        response = await client.ask(holder)
    message = message_of_held(response)
    assert "needs 59 credits, 57 are available (balance 117, held by" in message
    assert message.endswith("Try again in 1 s.")
    assert response.headers["retry-after"] == "1"
    assert upstream.requests == []


@pytest.mark.parametrize(("waiting", "seconds"), [(1, "1"), (12, "12"), (40, "30")])
async def test_who_is_refused_for_now_is_told_how_long_those_in_line_may_take(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder, waiting: int, seconds: str
) -> None:
    _ = await placed(Book(pool), holder, "a", 60)
    for _ in range(waiting):
        await pool.fetchval(statements.ENTER, holder.account_id, 1, 60.0)
    async with client_of(dsn, upstream, hold_wait_s=0) as client:
        response = await client.ask(holder)
    assert response.headers["retry-after"] == seconds
    assert f"Try again in {seconds} s." in message_of_held(response)


async def test_the_sdk_comes_back_when_it_was_told_and_is_answered(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    hold = await placed(Book(pool), holder, "a", 60)
    async with (
        client_of(dsn, upstream, hold_wait_s=0) as client,
        openai.AsyncOpenAI(
            api_key=holder.secret,
            base_url=client.base_url.join("/v1"),
            max_retries=1,
            http_client=client,
        ) as sdk,
    ):
        asking = asyncio.ensure_future(
            sdk.chat.completions.with_raw_response.create(
                model="gpt-4o-mini", messages=MESSAGES, max_tokens=50
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            await client.until_refused()
            _ = await Book(pool).void(hold)
            assert (await asking).retries_taken == 1
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [402, 429])
async def test_a_balance_that_is_only_held_is_told_so_whatever_stands_for_an_empty_one(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder, status: int
) -> None:
    _ = await placed(Book(pool), holder, "a", 60)
    await pool.execute("UPDATE api_keys SET insufficient_status = $1", status)
    async with client_of(dsn, upstream, hold_wait_s=0, insufficient_status=status) as client:
        assert "needs 59 credits" in message_of_held(await client.ask(holder))


async def test_what_can_never_fit_is_refused_at_once_and_told_what_is_missing(
    pool: Pool, client: Client, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 9)
    _ = await placed(Book(pool), holder, "a", 5)
    async with asyncio.timeout(AT_ONCE_S):
        message = message_of(await client.ask(holder))
    assert "needs 10 credits, 4 are available (balance 9, held by" in message
    assert upstream.requests == []
    assert await pool.fetchval("SELECT count(*) FROM waiters") == 0


async def test_a_request_that_a_charge_makes_hopeless_is_refused_when_it_does(
    pool: Pool, client: Client, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, HOLD)
    (gate,) = gated(upstream)
    first = client.begin(holder)
    await upstream.received()
    waiting = [client.begin(holder) for _ in range(2)]
    await until_waiting(pool, 2)
    # 47 will be left: the next takes them all, and leaves nothing.
    upstream.always(response_of(HOLD - 12))
    gate.open()
    assert (await first).status_code == 200
    async with asyncio.timeout(PATIENCE_S):
        responses = await asyncio.gather(*waiting)
    assert Counter(response.status_code for response in responses) == {200: 1, 402: 1}
    refused = next(response for response in responses if response.status_code == 402)
    assert "needs 10 credits, 0 are available" in message_of(refused)


async def test_a_request_whose_time_is_up_is_refused_and_leaves_no_row(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, holder: Holder
) -> None:
    (gate,) = gated(upstream)
    async with client_of(dsn, upstream, hold_wait_s=0.3) as client:
        first = client.begin(holder)
        await upstream.received()
        second = await client.ask(holder)
        assert "needs 59 credits, 58 are available" in message_of_held(second)
        await until_waiting(pool, 0)
        gate.open()
        assert (await first).status_code == 200
    assert len(upstream.requests) == 1
    assert await hold_states(pool, holder) == ["settled"]


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
    assert await hold_states(pool, holder) == ["settled"]
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
