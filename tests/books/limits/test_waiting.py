"""Requests that wait for a limit stand in a line of their own, and others pass it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.limits import caller_of, limit_key
from tests.support.waiters import PATIENCE_S, process, standing, until
from tokenbalance.database import statements
from tokenbalance.model import Claim, Hold, Purpose, Usage
from tokenbalance.people.secrets import new_secret, prefix, sha256

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.waiters import Process
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Caller


@pytest.fixture
async def holder(pool: Pool, sessions: Sessions) -> Holder:
    holder = await create_holder(pool, 100)
    await limit_key(sessions, holder, parallel_requests=1, credits_per_day=90)
    return holder


@pytest.fixture
async def here(dsn: str) -> AsyncIterator[Process]:
    async with process(dsn) as here:
        yield here


async def another_key_of(pool: Pool, holder: Holder) -> Holder:
    """Make a key of the same account, without limits."""
    secret = new_secret()
    key_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256) VALUES ($1, $2, $3) RETURNING id",
        holder.account_id,
        prefix(secret),
        sha256(secret),
    )
    return type(holder)(holder.user_id, holder.account_id, key_id, secret)


async def place(here: Process, caller: Caller, request_id: str, amount: int) -> Hold | None:
    return await here.book.place(caller, Purpose(request_id, "/x", None), Claim(amount, amount))


async def wait(
    here: Process, caller: Caller, request_id: str, amount: int, wait_s: float = PATIENCE_S
) -> Hold | None:
    """Wait as a request does that a limit refuses."""
    claim = Claim(amount, amount)

    async def attempt(position: int) -> Hold | None:
        purpose = Purpose(request_id, "/x", None)
        return await here.book.place(caller, purpose, claim, position=position)

    return await here.waiters.place(caller, claim, attempt, wait_s, by_limit=True)


async def test_the_next_request_of_a_key_follows_when_one_ends(
    pool: Pool, here: Process, holder: Holder
) -> None:
    caller = await caller_of(pool, holder)
    hold = await place(here, caller, "a", 10)
    assert hold is not None
    assert await place(here, caller, "b", 10) is None
    waiting = [asyncio.create_task(wait(here, caller, f"w{number}", 10)) for number in range(3)]
    await until(lambda: standing(pool), 3)
    left = set(waiting)
    while left:
        _ = await here.book.settle(hold, Usage.counted(1, 1))
        # The next one may have its hold before the end of this one is known here.
        done, left = await asyncio.wait(
            left, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
        assert len(done) == 1
        hold = done.pop().result()
        assert hold is not None
    assert await pool.fetchval("SELECT sum(reserved) FROM limits WHERE unit = 'holds'") == 1


async def test_a_request_that_waits_for_a_limit_blocks_no_other_key_of_its_account(
    pool: Pool, here: Process, holder: Holder
) -> None:
    caller, other = await caller_of(pool, holder), await another_key_of(pool, holder)
    assert await place(here, caller, "a", 10) is not None
    waiting = asyncio.create_task(wait(here, caller, "w", 80))
    await until(lambda: standing(pool), 1)
    # All that is left of the account, though somebody waits before it.
    assert await place(here, other.caller, "b", 90) is not None
    _ = waiting.cancel()
    _ = await asyncio.gather(waiting, return_exceptions=True)
    await until(lambda: standing(pool), 0)


async def test_a_release_elsewhere_is_noticed_and_nothing_is_tried_in_vain_before(
    pool: Pool, dsn: str, here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await caller_of(pool, holder)
    hold = await place(here, caller, "a", 10)
    assert hold is not None
    waiting = asyncio.create_task(wait(here, caller, "w", 10))
    await until(lambda: standing(pool), 1)
    sent: list[str] = []
    names = {statements.PLACE_LIMITED: "PLACE", statements.PROMISING_LIMITED: "PROMISING"}
    fetch = type(here.pool).fetch

    async def noted(pool: Pool, statement: str, *arguments: object, **options: float) -> object:
        sent.append(names.get(statement, ""))
        return await fetch(pool, statement, *arguments, **options)

    # Its first attempt is over.
    await asyncio.sleep(0)
    await until_polled(here)
    monkeypatch.setattr(type(here.pool), "fetch", noted)

    async def polls() -> bool:
        return sent.count("PROMISING") >= 3

    await until(polls, expected=True)
    assert sent.count("PLACE") == 0
    async with process(dsn) as elsewhere:
        await elsewhere.book.void(Hold("a", holder.account_id, 10))
        assert await asyncio.wait_for(waiting, PATIENCE_S) is not None
    assert sent.count("PLACE") == 1


async def until_polled(here: Process) -> None:
    """Wait until no waiter is about to try."""

    async def is_quiet() -> bool:
        return not any(waiter.woken.is_set() for waiter in here.waiters._all())

    await until(is_quiet, expected=True)


async def test_a_limit_that_time_lifts_is_not_waited_for(
    pool: Pool, here: Process, holder: Holder
) -> None:
    caller = await caller_of(pool, holder)
    hold = await place(here, caller, "a", 10)
    assert hold is not None
    waiting = asyncio.create_task(wait(here, caller, "w", 50))
    await until(lambda: standing(pool), 1)
    # What its predecessor used leaves too little for today.
    _ = await here.book.settle(hold, Usage.counted(30, 30))
    assert await asyncio.wait_for(waiting, PATIENCE_S) is None


async def test_a_key_whose_limits_change_while_it_waits_is_told_by_its_time(
    pool: Pool, sessions: Sessions, here: Process, holder: Holder
) -> None:
    caller = await caller_of(pool, holder)
    assert await place(here, caller, "a", 10) is not None
    waiting = asyncio.create_task(wait(here, caller, "w", 10, wait_s=0.3))
    await until(lambda: standing(pool), 1)
    await limit_key(sessions, holder, parallel_requests=2)
    # An attempt at that very moment may see the new limit with the old version.
    if await asyncio.wait_for(waiting, PATIENCE_S) is None:
        assert await place(here, await caller_of(pool, holder), "b", 10) is not None
