"""Many requests at once on one balance: who is answered is charged, and nothing goes below zero."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from tests.support.books import account_of, charges_of, create_holder
from tests.support.chat import DONE, MESSAGES, USAGE, content
from tests.support.product import serving
from tests.support.upstream import Gate, ScriptedUpstream, event_stream

if TYPE_CHECKING:
    from tests.support.chat import Sdk
    from tokenbalance.database.connections import Pool


@pytest.mark.parametrize("stream", [False, True])
async def test_fifty_at_once_on_a_balance_for_ten(
    pool: Pool, sdk: Sdk, upstream: ScriptedUpstream, stream: bool
) -> None:
    holder = await create_holder(pool, 10 * (9 + 20))
    client = sdk(holder)

    async def ask() -> int:
        try:
            response = await client.chat.completions.create(
                model="gpt-4o-mini", messages=MESSAGES, max_tokens=20, stream=stream
            )
            if stream:
                _ = [chunk async for chunk in response]
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    lowest = (await account_of(pool, holder)).balance
    asking = [asyncio.create_task(ask()) for _ in range(50)]
    while not all(task.done() for task in asking):
        lowest = min(lowest, (await account_of(pool, holder)).balance)
        await asyncio.sleep(0.01)
    statuses = Counter(task.result() for task in asking)
    account = await account_of(pool, holder)
    charges = await charges_of(pool, holder)
    assert statuses == {200: 10, 402: 40}
    assert len(upstream.completed) == len(charges) == 10
    assert lowest >= 0
    assert (account.balance, account.held) == (0, 0)


async def test_exactly_as_many_are_admitted_at_one_moment_as_fit(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    async with (
        serving(dsn, upstream.base_url, hold_wait_s=0) as product,
        httpx2.AsyncClient(base_url=product, timeout=30) as http,
    ):
        await _fill(pool, http, upstream)


async def _fill(pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream) -> None:
    holder = await create_holder(pool, 7 * (9 + 20) + 28)
    gate = Gate()
    upstream.always(event_stream(content("x"), gate, USAGE, DONE))
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 20, "stream": True}

    async def ask() -> int:
        response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
        return response.status_code

    asking = [asyncio.create_task(ask()) for _ in range(30)]
    await upstream.received(7)
    done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 23:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {task.result() for task in done} == {429}
    assert len(upstream.requests) == 7
    gate.open()
    assert await asyncio.gather(*waiting) == [200] * 7
    assert (await account_of(pool, holder)).balance == 7 * 29 + 28 - 7 * 12
