"""Requests that their account does not cover, now or ever: what clients get, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import openai
import pytest

from tests.support.books import create_holder, hold_states, placed
from tests.support.chat import MESSAGES
from tests.support.waiting import (
    AT_ONCE_S,
    HOLD,
    PATIENCE_S,
    Client,
    client_of,
    gated,
    message_of,
    message_of_held,
    response_of,
    until_waiting,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database import statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
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
