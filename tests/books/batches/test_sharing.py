"""Which statements holds and settlements share, and that the result is the same as one by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.batches import place_each
from tests.support.books import (
    Account,
    account_of,
    charges_of,
    create_holder,
    entries_of,
    hold_states,
    place,
    placed,
)
from tokenbalance.books.ledger.book import Book
from tokenbalance.database import statements
from tokenbalance.model import Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_holds_of_several_accounts_are_placed_by_one_statement(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    holds = await place_each(book, holders * 2)
    assert sent == ["PLACE_MANY"]
    assert [hold.amount for hold in holds] == [10] * 6
    assert [(await account_of(pool, holder)).held for holder in holders] == [20] * 3


async def test_holds_of_one_account_are_placed_by_one_statement(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    await place_each(book, holders[:1] * 5)
    assert sent == ["PLACE_MANY_OF_ONE"]
    assert (await account_of(pool, holders[0])).held == 50


async def test_settlements_of_several_accounts_share_a_statement_and_keep_their_order(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    holds = await place_each(book, holders * 2)
    sent.clear()
    charges = await asyncio.gather(
        *(book.settle(hold, Usage(total=5 + n)) for n, hold in enumerate(holds))
    )
    assert sent == ["SETTLE_MANY"]
    for number, holder in enumerate(holders):
        first, second = charges[number], charges[number + 3]
        assert first is not None
        assert second is not None
        assert (first.balance, second.balance) == (1000 - 5 - number, 1000 - 13 - 2 * number)
        assert (first.held, second.held) == (0, 0)
        assert (await entries_of(pool, holder))[1:] == [
            ("charge", -5 - number, first.balance),
            ("charge", -8 - number, second.balance),
        ]


async def test_one_request_alone_is_sent_alone(
    book: Book, holders: list[Holder], sent: list[str]
) -> None:
    await book.settle(await placed(book, holders[0], "a", 10), Usage(total=5))
    assert sent == ["PLACE", "SETTLE"]


async def test_no_statement_is_about_more_than_one_account_where_that_is_not_wanted(
    pool: Pool, holders: list[Holder], sent: list[str]
) -> None:
    book = Book(pool, batch_max=1)
    holds = await place_each(book, holders * 2)
    await asyncio.gather(*(book.settle(hold, Usage(total=5)) for hold in holds))
    assert sorted(sent) == ["PLACE"] * 6 + ["SETTLE"] * 6


# As one by one.

CLAIMS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=12
)


ENDS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 70)), min_size=1, max_size=14)


BALANCES = st.tuples(*[st.integers(0, 120)] * 3)


PROFILE = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Run:
    """The same requests of three holders, either at once or one after another."""

    pool: Pool
    book: Book
    holders: list[Holder]
    at_once: bool

    async def all(self, work: Sequence[Awaitable[object]]) -> list[object]:
        if self.at_once:
            return list(await asyncio.gather(*work, return_exceptions=True))
        return [(await asyncio.gather(one, return_exceptions=True))[0] for one in work]

    async def place(self, claims: list[tuple[int, int, int]], names: list[str]) -> list[object]:
        return await self.all(
            [
                place(self.book, self.holders[account], name, wanted, min(wanted, minimum))
                for (account, wanted, minimum), name in zip(claims, names, strict=True)
            ]
        )

    async def what_there_is(self) -> list[object]:
        return [
            (
                await account_of(self.pool, holder),
                await entries_of(self.pool, holder),
                [tuple(charge) for charge in await charges_of(self.pool, holder)],
                sorted(await hold_states(self.pool, holder)),
            )
            for holder in self.holders
        ]


async def run_of(pool: Pool, balances: Sequence[int], *, at_once: bool) -> Run:
    holders = [
        await create_holder(pool, balance, overdraft=overdraft)
        for balance, overdraft in zip(balances, (0, 0, 15), strict=True)
    ]
    return Run(pool, Book(pool, batch_max=512 if at_once else 1), holders, at_once)


def shown(response: object) -> object:
    if isinstance(response, Hold):
        return response.amount
    return type(response) if isinstance(response, Exception) else response


@PROFILE
@given(
    balances=BALANCES,
    claims=CLAIMS,
    twice=st.booleans(),
    waiting=st.integers(0, 20),
    ends=ENDS,
)
async def test_at_once_is_the_same_as_one_by_one(
    pool: Pool,
    balances: tuple[int, int, int],
    claims: list[tuple[int, int, int]],
    twice: bool,
    waiting: int,
    ends: list[tuple[int, int]],
) -> None:
    names = [f"r{number}" for number in range(len(claims))]
    if twice:
        names[-1] = names[0]
    seen: list[object] = []
    for at_once in (True, False):
        run = await run_of(pool, balances, at_once=at_once)
        if waiting:
            account_id = run.holders[0].account_id
            await pool.fetchval(statements.ENTER, account_id, waiting, 60.0)
        responses = await run.place(claims, names)
        holds = [response for response in responses if isinstance(response, Hold)]
        told = await run.all(
            [run.book.settle(holds[n % len(holds)], Usage(total=t)) for n, t in ends if holds]
        )
        assert not [error for error in told if isinstance(error, Exception)]
        seen.append(([*map(shown, responses)], await run.what_there_is()))
    assert seen[0] == seen[1]


async def test_a_hold_that_is_asked_for_twice_at_once_is_placed_once(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    pending = ((holders[0], "same"), (holders[0], "same"), (holders[1], "other"))
    responses = await asyncio.gather(
        *(place(book, holder, name, 10) for holder, name in pending), return_exceptions=True
    )
    assert [type(response) for response in responses] == [Hold, asyncpg.UniqueViolationError, Hold]
    assert (await account_of(pool, holders[0])).held == 10


async def test_a_hold_that_is_settled_twice_at_once_is_charged_once(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    first, other = await place_each(book, holders[:2])
    charges = await asyncio.gather(
        *(book.settle(hold, Usage(total=7)) for hold in (first, first, other, first))
    )
    assert [charge and charge.amount for charge in charges] == [7] * 4
    assert [len(await charges_of(pool, holder)) for holder in holders[:2]] == [1, 1]


async def test_what_has_ended_in_another_way_is_left_as_it_is(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    voided, expired, settled = await place_each(book, holders)
    await book.void(voided)
    assert await book.expire(expired, Usage(total=4, estimated=True), orphaned=True)
    charges = await asyncio.gather(
        *(book.settle(hold, Usage(total=7)) for hold in (voided, expired, settled))
    )
    assert [charge and charge.amount for charge in charges] == [None, 7, 7]
    assert [(await account_of(pool, holder)).balance for holder in holders] == [1000, 993, 993]


async def test_a_voided_hold_is_not_charged_where_no_constraint_would_notice(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    voided, other = await place_each(book, holders[:2])
    _ = await place_each(book, holders[:1], "still open")
    await book.void(voided)
    charges = await asyncio.gather(*(book.settle(hold, Usage(total=7)) for hold in (voided, other)))
    assert [charge and charge.amount for charge in charges] == [None, 7]
    assert await account_of(pool, holders[0]) == Account(1000, 10)


async def test_one_that_is_wrong_does_not_fail_the_others(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    async def place_for(holder: Holder, model: str) -> Hold | None:
        purpose = Purpose(f"r{holder.account_id}", "/chat/completions", model)
        return await book.place(holder.caller, purpose, Claim(10, 10))

    responses = await asyncio.gather(
        *map(place_for, holders, ("gpt-4o", "\0", "gpt-4o")), return_exceptions=True
    )
    assert [type(response) for response in responses] == [
        Hold,
        asyncpg.CharacterNotInRepertoireError,
        Hold,
    ]
    assert [(await account_of(pool, holder)).held for holder in holders] == [10, 0, 10]
