"""Lowering a balance takes nothing that requests in flight hold, and the entry says what stayed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of, place, placed
from tests.support.locks import until_waiting
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import (
    BalanceTooLow,
    Cause,
    KeyReused,
    OverdraftInUse,
    add,
    add_once,
    set_balance,
)
from tokenbalance.books.ledger.overdrafts import set_overdraft
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.connections import Pool, Sessions

    Entering = Callable[[AsyncSession, int, int, Cause], Awaitable[Entry]]

CAUSE = Cause("root@example.com", "because")


@pytest.mark.parametrize(
    ("overdraft", "held", "entering", "amount", "entered", "kept"),
    [
        (0, 80, set_balance, 0, -20, 80),
        (0, 80, set_balance, 79, -20, 1),
        (0, 80, set_balance, 80, -20, 0),
        (0, 80, add, -100, -20, 80),
        (0, 80, add, -20, -20, 0),
        (0, 100, set_balance, 0, 0, 100),
        (0, 100, add, -1, 0, 1),
        (30, 80, set_balance, 0, -50, 50),
        (30, 80, add, -130, -50, 80),
        (30, 20, set_balance, 0, -100, 0),
        (30, 130, add, -5, 0, 5),
    ],
)
async def test_what_requests_in_flight_hold_stays(
    pool: Pool,
    sessions: Sessions,
    overdraft: int,
    held: int,
    entering: Entering,
    amount: int,
    entered: int,
    kept: int,
) -> None:
    holder = await create_holder(pool, 100, overdraft=overdraft)
    hold = await placed(Book(pool), holder, "tb_1", held)

    async with sessions.begin() as session:
        entry = await entering(session, holder.account_id, amount, CAUSE)

    assert (entry.amount, entry.balance_after, entry.kept_for_holds) == (
        entered,
        100 + entered,
        kept,
    )
    assert (await audit(pool)).violations == []
    assert await Book(pool).settle(hold, Usage(total=held))
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100 + entered - held, 0)
    assert account.balance >= -overdraft
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(("entering", "amount"), [(set_balance, -1), (add, -101)])
async def test_a_balance_that_is_too_low_even_without_holds_is_refused(
    pool: Pool, sessions: Sessions, entering: Entering, amount: int
) -> None:
    holder = await create_holder(pool, 100)
    _ = await placed(Book(pool), holder, "tb_1", 80)
    async with sessions.begin() as session:
        with pytest.raises(BalanceTooLow, match="lowest allowed is 0"):
            _ = await entering(session, holder.account_id, amount, CAUSE)
    assert await entries_of(pool, holder) == [("grant", 100, 100)]


async def test_an_overrun_leaves_nothing_to_take_and_lowering_changes_nothing(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    book = Book(pool)
    overrun, _ = await placed(book, holder, "tb_1", 20), await placed(book, holder, "tb_2", 80)
    assert await book.settle(overrun, Usage(total=50))

    async with sessions.begin() as session:
        entry = await set_balance(session, holder.account_id, 0, CAUSE)

    assert (entry.amount, entry.balance_after, entry.kept_for_holds) == (0, 50, 50)
    assert (await audit(pool)).violations == []


async def test_the_same_take_gives_the_same_answer_and_another_amount_is_refused(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    hold = await placed(Book(pool), holder, "tb_1", 80)
    async with sessions.begin() as session:
        first = await add_once(session, holder.account_id, -70, CAUSE, "a")
    await Book(pool).void(hold)
    async with sessions.begin() as session:
        again = await add_once(session, holder.account_id, -70, CAUSE, "a")
        for other in (-20, -50, -71):
            with pytest.raises(KeyReused):
                _ = await add_once(session, holder.account_id, other, CAUSE, "a")

    assert (first.amount, first.kept_for_holds) == (-20, 50)
    assert again == first
    assert await entries_of(pool, holder) == [("grant", 100, 100), ("adjustment", -20, 80)]


async def test_a_take_and_the_end_of_a_request_at_once_leave_what_is_held_covered(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    book = Book(pool)
    ending, running = await placed(book, holder, "tb_1", 30), await placed(book, holder, "tb_2", 50)

    async def take() -> Entry:
        async with sessions.begin() as session:
            return await set_balance(session, holder.account_id, 0, CAUSE)

    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        taking = asyncio.create_task(take())
        settling = asyncio.create_task(book.settle(ending, Usage(total=10)))
        await until_waiting(pool, [taking, settling])
    entry, charge = await asyncio.gather(taking, settling)

    account = await account_of(pool, holder)
    assert charge
    assert account.held == 50
    # The take came first and kept 80, of which 10 were used; or it came second and kept 50.
    assert (account.balance, entry.kept_for_holds) in {(70, 80), (50, 50)}
    assert await book.settle(running, Usage(total=50))
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_at_once_no_balance_is_ever_below_the_overdraft(
    pool: Pool, sessions: Sessions, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    overdraft = chance.choice([0, 40])
    holder, book = await create_holder(pool, 200, overdraft=overdraft), Book(pool)

    async def request(number: int, wanted: int, used: int) -> None:
        hold = await place(book, holder, f"tb_{number}", wanted, wanted)
        if hold is not None and used:
            assert await book.settle(hold, Usage(total=used))
        elif hold is not None:
            await book.void(hold)

    async def lower(entering: Entering, amount: int) -> None:
        with suppress(BalanceTooLow):
            async with sessions.begin() as session:
                _ = await entering(session, holder.account_id, amount, CAUSE)

    async def withdraw(amount: int) -> None:
        with suppress(OverdraftInUse):
            async with sessions.begin() as session:
                _ = await set_overdraft(session, holder.account_id, amount, CAUSE)

    acts: list[Callable[[], Coroutine[None, None, None]]] = []
    for number in range(100):
        wanted = chance.randint(1, 60)
        acts.append(partial(request, number, wanted, chance.randint(0, wanted)))
        acts.append(
            chance.choice(
                [
                    partial(lower, set_balance, chance.randint(0, 120)),
                    partial(lower, add, chance.choice([-1, 1]) * chance.randint(1, 80)),
                    partial(withdraw, chance.randint(0, 40)),
                ]
            )
        )
    chance.shuffle(acts)
    async with asyncio.TaskGroup() as group:
        acting = [group.create_task(act()) for act in acts]
        while not all(task.done() for task in acting):
            # The account at that moment, in one snapshot with all that led to it.
            assert (await audit(pool)).violations == []

    assert (await audit(pool)).violations == []
    kinds = {kind for kind, _, _ in await entries_of(pool, holder)}
    assert kinds == {"grant", "charge", "set", "adjustment", "top-up"}
