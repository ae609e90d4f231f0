"""A request enters what is due of its account, and goes on in the same attempt."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import openai
import pytest

from tests.support.books import account_of, create_holder, entries_of, placed
from tests.support.chat import CHAT
from tests.support.grants import CAUSE, end, grant, pass_time
from tests.support.waiting import until_waiting
from tokenbalance.books.grants.allowances import NewAllowance, create
from tokenbalance.books.holds.waiting import Waiters
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Claim, Purpose

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions


async def test_an_allowance_that_is_due_pays_for_the_request_that_finds_it(
    pool: Pool,
    sessions: Sessions,
    sdk: Callable[[Holder], openai.AsyncOpenAI],
    upstream: ScriptedUpstream,
) -> None:
    holder = await create_holder(pool)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with sessions.begin() as session:
        new = NewAllowance(amount=20_000, every="day", starts_at=tomorrow)
        _ = await create(session, holder.account_id, new, CAUSE)
    client = sdk(holder)
    for day in range(3):
        # Without a credit at first: it would be refused on its head.
        await pass_time(pool, holder, 1.01)
        assert await client.chat.completions.create(**CHAT)
        assert len(upstream.requests) == day + 1
    assert [kind for kind, *_ in await entries_of(pool, holder)] == [
        "grant",
        "charge",
        *["grant", "expiry", "charge"] * 2,
    ]
    assert (await audit(pool)).violations == []


async def test_a_grant_that_has_ended_pays_for_nothing(
    pool: Pool,
    sessions: Sessions,
    sdk: Callable[[Holder], openai.AsyncOpenAI],
    upstream: ScriptedUpstream,
) -> None:
    holder = await create_holder(pool)
    soon = await grant(sessions, holder, 20_000)
    client = sdk(holder)
    assert await client.chat.completions.create(**CHAT)
    await end(pool, soon)
    with pytest.raises(openai.APIStatusError) as refused:
        await client.chat.completions.create(**CHAT)
    assert (refused.value.status_code, refused.value.code) == (402, "insufficient_quota")
    assert len(upstream.requests) == 1
    assert (await account_of(pool, holder)).balance == 0
    assert (await audit(pool)).violations == []


async def test_a_request_that_waits_gets_what_becomes_due_meanwhile(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    begun = datetime.now(UTC) - timedelta(hours=1)
    async with sessions.begin() as session:
        new = NewAllowance(amount=100, every="day", starts_at=begun)
        _ = await create(session, holder.account_id, new, CAUSE)
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 100)
    waiters = Waiters(pool, book)
    purpose = Purpose("tb_2", "/chat/completions", None)
    waiting = asyncio.create_task(
        waiters.place(
            holder.caller,
            Claim(90, 90),
            lambda position: book.place(holder.caller, purpose, Claim(90, 90), position=position),
            30,
        )
    )
    await until_waiting(pool, 1)
    await pass_time(pool, holder, 1)
    assert await asyncio.wait_for(waiting, 20)
    await waiters.close()
    assert (await account_of(pool, holder)).held == 190
    assert hold.amount == 100
    assert (await audit(pool)).violations == []
