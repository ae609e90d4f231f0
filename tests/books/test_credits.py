from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder
from tests.support.locks import until_waiting
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.credits import (
    CREDITS_MAX,
    AmountNotPositive,
    AmountTooLarge,
    AmountZero,
    BalanceTooLow,
    Cause,
    CreditError,
    InvalidIdempotencyKey,
    InvalidNote,
    KeyReused,
    UnknownAccount,
    add,
    add_once,
    grant,
    set_balance,
)
from tokenbalance.books.pricing.rates import AMOUNT_MAX
from tokenbalance.model import CLI, Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.connections import Pool, Sessions

    Entering = Callable[[AsyncSession, int, int, Cause], Awaitable[Entry]]

CAUSE = Cause(Actor("root@example.com"), "because")


@pytest.mark.parametrize(
    ("entering", "amount", "kind", "difference"),
    [
        (grant, 5, "grant", 5),
        (add, 5, "top-up", 5),
        (add, -5, "adjustment", -5),
        (set_balance, 130, "set", 30),
        (set_balance, 30, "set", -70),
        # One act is one entry, so that the ledger tells who confirmed a balance, and when.
        (set_balance, 100, "set", 0),
    ],
)
async def test_an_entry_says_what_changed_and_who_did_it(
    pool: Pool, sessions: Sessions, entering: Entering, amount: int, kind: str, difference: int
) -> None:
    holder = await create_holder(pool, 100)

    async with sessions.begin() as session:
        entry = await entering(session, holder.account_id, amount, CAUSE)

    assert (entry.kind, entry.amount, entry.balance_after) == (kind, difference, 100 + difference)
    assert (entry.actor, entry.note, entry.request_id) == ("root@example.com", "because", None)
    assert entry.created_at.tzinfo is not None
    assert (await account_of(pool, holder)).balance == 100 + difference
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("entering", "amount", "note", "error"),
    [
        (grant, 0, "", AmountNotPositive),
        (grant, -1, "", AmountNotPositive),
        (add, 0, "", AmountZero),
        (add, CREDITS_MAX + 1, "", AmountTooLarge),
        (add, CREDITS_MAX - 99, "", AmountTooLarge),
        (add, -CREDITS_MAX - 1, "", AmountTooLarge),
        (set_balance, CREDITS_MAX + 1, "", AmountTooLarge),
        (set_balance, 10**40, "", AmountTooLarge),
        (add, -111, "", BalanceTooLow),
        (set_balance, -11, "", BalanceTooLow),
        (add, 1, "a\nb", InvalidNote),
        (add, 1, "a\0b", InvalidNote),
        (add, 1, "x" * 501, InvalidNote),
    ],
)
async def test_a_refused_entry_leaves_no_trace(
    pool: Pool,
    sessions: Sessions,
    entering: Entering,
    amount: int,
    note: str,
    error: type[CreditError],
) -> None:
    holder = await create_holder(pool, 100, overdraft=10)

    async with sessions.begin() as session:
        with pytest.raises(error):
            await entering(session, holder.account_id, amount, Cause(CLI, note))
        # Even where the caller goes on and commits.

    assert (await account_of(pool, holder)).balance == 100
    assert (await audit(pool)).violations == []


async def test_the_limits_themselves_are_allowed(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 0, overdraft=10)
    async with sessions.begin() as session:
        top = await set_balance(session, holder.account_id, CREDITS_MAX, CAUSE)
        bottom = await set_balance(session, holder.account_id, 0, CAUSE)
        overdrawn = await add(session, holder.account_id, -10, CAUSE)
    assert (top.balance_after, bottom.amount) == (CREDITS_MAX, -CREDITS_MAX)
    assert overdrawn.balance_after == -10


async def test_an_account_that_is_too_low_already_may_be_raised(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, -100)
    async with sessions.begin() as session:
        entry = await add(session, holder.account_id, 40, CAUSE)
    assert entry.balance_after == -60


async def test_what_a_nonsensical_charge_made_of_a_balance_can_be_mended(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, -AMOUNT_MAX)
    async with sessions.begin() as session:
        raised = await add(session, holder.account_id, CREDITS_MAX, CAUSE)
        with pytest.raises(AmountTooLarge):
            await add(session, holder.account_id, CREDITS_MAX + 1, CAUSE)
        mended = await set_balance(session, holder.account_id, 30, CAUSE)
        with pytest.raises(AmountTooLarge):
            await set_balance(session, holder.account_id, CREDITS_MAX + 1, CAUSE)
    assert raised.balance_after == CREDITS_MAX - AMOUNT_MAX
    assert (mended.amount, mended.balance_after) == (30 - raised.balance_after, 30)


async def test_an_unknown_account_is_refused(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        with pytest.raises(UnknownAccount):
            await grant(session, 4711, 1, CAUSE)


async def test_simultaneous_entries_follow_each_other(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)

    async def enter(number: int) -> None:
        async with sessions.begin() as session:
            if number % 2:
                await add(session, holder.account_id, number, CAUSE)
            else:
                await set_balance(session, holder.account_id, number, CAUSE)

    await asyncio.gather(*(enter(number) for number in range(1, 11)))

    assert (await audit(pool)).violations == []
    assert await pool.fetchval("SELECT count(*) FROM ledger") == 11


async def test_entries_are_undone_with_the_callers_transaction(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    async with sessions() as session:
        await add(session, holder.account_id, 5, CAUSE)
        await session.rollback()
    assert (await account_of(pool, holder)).balance == 100


async def test_the_same_credits_are_added_once(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    other = await create_holder(pool, 100)
    entries: list[Entry] = []
    for account_id in (holder.account_id, holder.account_id, other.account_id):
        async with sessions.begin() as session:
            entries.append(await add_once(session, account_id, 5, CAUSE, "order 1"))
    async with sessions.begin() as session:
        _ = await add(session, holder.account_id, 5, CAUSE)
        late = await add_once(
            session, holder.account_id, 5, Cause(Actor("x@y.z"), CAUSE.note), "order 1"
        )
        taken = await add_once(session, holder.account_id, -5, CAUSE, "order 2")

    assert (entries[0].kind, entries[0].amount, entries[0].balance_after) == ("top-up", 5, 105)
    assert entries[1].id == entries[0].id == late.id
    assert (late.balance_after, late.actor) == (105, CAUSE.actor.name)
    assert entries[2].account_id == other.account_id
    assert (taken.kind, taken.balance_after) == ("adjustment", 105)
    assert (await account_of(pool, holder)).balance == 105
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("amount", "note", "key", "error"),
    [
        (6, "because", "used", KeyReused),
        (-5, "because", "used", KeyReused),
        (10**40, "because", "used", KeyReused),
        (5, "", "used", KeyReused),
        (5, "\0", "used", KeyReused),
        (0, "because", "used", AmountZero),
        (0, "", "new", AmountZero),
        (10**40, "", "new", AmountTooLarge),
        (-101, "", "new", BalanceTooLow),
        (1, "a\0b", "new", InvalidNote),
        (5, "because", "", InvalidIdempotencyKey),
        (5, "because", "x" * 256, InvalidIdempotencyKey),
        (5, "because", "a\0", InvalidIdempotencyKey),
        (5, "because", "a\n", InvalidIdempotencyKey),
        (5, "because", "\x7f", InvalidIdempotencyKey),
        (5, "because", "\u00fc", InvalidIdempotencyKey),
        (5, "because", "\udc80", InvalidIdempotencyKey),
    ],
)
async def test_credits_refused_by_key_leave_no_trace(
    pool: Pool, sessions: Sessions, amount: int, note: str, key: str, error: type[CreditError]
) -> None:
    holder = await create_holder(pool, 95)
    async with sessions.begin() as session:
        _ = await add_once(session, holder.account_id, 5, CAUSE, "used")

    async with sessions.begin() as session:
        with pytest.raises(error):
            _ = await add_once(session, holder.account_id, amount, Cause(CAUSE.actor, note), key)
        for longest in ("x" * 255, "!~ "):
            _ = await add_once(session, holder.account_id, 1, CAUSE, longest)

    assert (await account_of(pool, holder)).balance == 102
    assert (await audit(pool)).violations == []


async def test_the_same_credits_at_once_are_one_entry(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)

    async def add_five() -> int:
        async with sessions.begin() as session:
            return (await add_once(session, holder.account_id, 5, CAUSE, "order 1")).id

    async with pool.acquire() as connection, connection.transaction():
        # Until all of them are at the account's row, none gets past it.
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        additions = [asyncio.create_task(add_five()) for _ in range(4)]
        await until_waiting(pool, additions)

    assert len(set(await asyncio.gather(*additions))) == 1
    assert (await account_of(pool, holder)).balance == 105
    assert (await audit(pool)).violations == []
