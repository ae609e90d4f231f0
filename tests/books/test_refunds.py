"""A request is refunded once, and never more than it cost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, placed
from tests.support.locks import until_waiting
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import (
    AmountNotPositive,
    Cause,
    CreditError,
    InvalidIdempotencyKey,
    InvalidNote,
    KeyReused,
    NothingToRefund,
    RefundTooLarge,
    UnknownRequest,
    add_once,
)
from tokenbalance.books.ledger.refunds import refund, refund_once
from tokenbalance.model import CLI, Actor, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.connections import Pool, Sessions

CAUSE = Cause(Actor("root@example.com"), "because")


async def charge(pool: Pool, holder: Holder, request_id: str, total: int) -> None:
    book = Book(pool)
    hold = await placed(book, holder, request_id, 80)
    assert await book.settle(hold, Usage({"input": total}, total=total))


async def test_a_refund_gives_back_what_a_request_was_charged(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    await charge(pool, holder, "tb_1", 60)

    async with sessions.begin() as session:
        entry = await refund(session, "tb_1", None, CAUSE)

    assert (entry.kind, entry.amount, entry.balance_after) == ("refund", 60, 100)
    assert (entry.account_id, entry.request_id) == (holder.account_id, "tb_1")
    assert (entry.actor, entry.note) == ("root@example.com", "because")
    assert (await account_of(pool, holder)).balance == 100
    assert (await audit(pool)).violations == []


async def test_a_refund_in_parts_ends_when_nothing_is_left(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    await charge(pool, holder, "tb_1", 60)

    async with sessions.begin() as session:
        _ = await refund(session, "tb_1", 15, CAUSE)
        with pytest.raises(RefundTooLarge, match="only 45 credits are left"):
            _ = await refund(session, "tb_1", 46, CAUSE)
        rest = await refund(session, "tb_1", None, CAUSE)
        for amount in (None, 1):
            with pytest.raises(NothingToRefund, match="nothing is left"):
                _ = await refund(session, "tb_1", amount, CAUSE)

    assert (rest.amount, rest.balance_after) == (45, 100)
    assert (await audit(pool)).violations == []


async def test_a_corrected_charge_is_refunded_as_corrected(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 80)
    assert await book.expire(hold, Usage({"input": 30}, total=30, estimated=True), orphaned=True)
    assert await book.settle(hold, Usage({"input": 30, "output": 20}, total=50))

    async with sessions.begin() as session:
        entry = await refund(session, "tb_1", None, CAUSE)

    assert (entry.amount, entry.balance_after) == (50, 100)
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("request_id", "amount", "note", "error"),
    [
        ("tb_charged", 0, "", AmountNotPositive),
        ("tb_charged", -1, "", AmountNotPositive),
        ("tb_charged", 61, "", RefundTooLarge),
        ("tb_charged", 10**40, "", RefundTooLarge),
        ("tb_charged", 60, "a\nb", InvalidNote),
        ("tb_free", None, "", NothingToRefund),
        ("tb_open", None, "", NothingToRefund),
        ("tb_voided", 1, "", NothingToRefund),
        ("tb_nobody's", None, "", UnknownRequest),
        ("tb_\0", None, "", UnknownRequest),
    ],
)
async def test_a_refused_refund_leaves_no_trace(
    pool: Pool,
    sessions: Sessions,
    request_id: str,
    amount: int | None,
    note: str,
    error: type[CreditError],
) -> None:
    holder = await create_holder(pool, 300)
    await charge(pool, holder, "tb_charged", 60)
    await charge(pool, holder, "tb_free", 0)
    _ = await placed(Book(pool), holder, "tb_open", 80)
    await Book(pool).void(await placed(Book(pool), holder, "tb_voided", 80))

    async with sessions.begin() as session:
        with pytest.raises(error):
            _ = await refund(session, request_id, amount, Cause(CLI, note))

    assert (await account_of(pool, holder)).balance == 240
    assert (await audit(pool)).violations == []


async def test_simultaneous_refunds_give_back_once(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    await charge(pool, holder, "tb_1", 60)

    async def give_back() -> int:
        async with sessions.begin() as session:
            return (await refund(session, "tb_1", None, CAUSE)).amount

    async with pool.acquire() as connection, connection.transaction():
        # Until all of them are at the account's row, none gets past it.
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        refunds = [asyncio.create_task(give_back()) for _ in range(4)]
        await until_waiting(pool, refunds)
    given = await asyncio.gather(*refunds, return_exceptions=True)

    assert [amount for amount in given if isinstance(amount, int)] == [60]
    assert sum(isinstance(error, NothingToRefund) for error in given) == 3
    assert (await account_of(pool, holder)).balance == 100
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize("amount", [25, None])
async def test_the_same_refund_is_made_once(
    pool: Pool, sessions: Sessions, amount: int | None
) -> None:
    holder = await create_holder(pool, 100)
    await charge(pool, holder, "tb_1", 60)

    async def give_back(key: str) -> Entry:
        async with sessions.begin() as session:
            return await refund_once(session, "tb_1", amount, CAUSE, key)

    entry, *again = [await give_back("form 1") for _ in range(3)]

    assert again == [entry, entry]
    assert (entry.kind, entry.amount, entry.request_id) == ("refund", amount or 60, "tb_1")
    assert (await account_of(pool, holder)).balance == 40 + (amount or 60)
    if amount is None:
        with pytest.raises(NothingToRefund):
            _ = await give_back("form 2")
    else:
        assert (await give_back("form 2")).id != entry.id
    assert (await audit(pool)).violations == []


async def test_the_same_refund_at_once_is_one_entry(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    await charge(pool, holder, "tb_1", 60)

    async def give_back() -> int:
        async with sessions.begin() as session:
            return (await refund_once(session, "tb_1", 20, CAUSE, "form 1")).id

    async with pool.acquire() as connection, connection.transaction():
        # Until all of them are at the account's row, none gets past it.
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        refunds = [asyncio.create_task(give_back()) for _ in range(4)]
        await until_waiting(pool, refunds)

    assert len(set(await asyncio.gather(*refunds))) == 1
    assert (await account_of(pool, holder)).balance == 60
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("request_id", "amount", "note", "key", "error"),
    [
        ("tb_1", 21, "because", "refunded", KeyReused),
        ("tb_1", 20, "another", "refunded", KeyReused),
        ("tb_1", None, "another", "refunded", KeyReused),
        ("tb_2", 20, "because", "refunded", KeyReused),
        ("tb_1", 5, "because", "added", KeyReused),
        ("tb_1", 0, "because", "refunded", AmountNotPositive),
        ("tb_1", 41, "because", "new", RefundTooLarge),
        ("tb_1", 1, "a\nb", "new", InvalidNote),
        ("tb_1", 1, "because", "", InvalidIdempotencyKey),
        ("tb_3", 1, "because", "new", UnknownRequest),
    ],
)
async def test_a_refund_refused_by_key_leaves_no_trace(
    pool: Pool,
    sessions: Sessions,
    request_id: str,
    amount: int | None,
    note: str,
    key: str,
    error: type[CreditError],
) -> None:
    holder = await create_holder(pool, 200)
    for charged in ("tb_1", "tb_2"):
        await charge(pool, holder, charged, 60)
    async with sessions.begin() as session:
        _ = await refund_once(session, "tb_1", 20, CAUSE, "refunded")
        _ = await add_once(session, holder.account_id, 5, CAUSE, "added")

    async with sessions.begin() as session:
        with pytest.raises(error):
            _ = await refund_once(session, request_id, amount, Cause(CAUSE.actor, note), key)
        with pytest.raises(KeyReused):
            _ = await add_once(session, holder.account_id, 20, CAUSE, "refunded")

    assert (await account_of(pool, holder)).balance == 105
    assert (await audit(pool)).violations == []
