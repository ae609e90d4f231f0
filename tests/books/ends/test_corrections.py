"""True usage that arrives at or after an expiry."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    account_of,
    charges_of,
    create_holder,
    end_leases,
    entries_of,
    hold_states,
    placed,
)
from tests.support.expiry import CHANGED_ACCOUNTS, KNOWN, expired
from tests.support.locks import locked, until_blocked
from tokenbalance.books.ledger.book import Book, UnknownHold
from tokenbalance.model import Charge, Hold, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


@pytest.mark.parametrize("first", ["settle", "expire"])
async def test_of_an_expiry_and_a_settlement_at_once_the_first_wins_and_the_true_usage_is_charged(
    pool: Pool, book: Book, holder: Holder, first: str
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    ends = {
        "settle": lambda: book.settle(hold, Usage({"input": 5, "output": 20}, total=25)),
        "expire": lambda: book.expire(hold, KNOWN),
    }
    second = "expire" if first == "settle" else "settle"

    async def run(end: str) -> object:
        return await ends[end]()

    # The first has changed the hold and waits for the account; the second waits for the hold.
    async with locked(pool, CHANGED_ACCOUNTS):
        tasks = {first: asyncio.create_task(run(first))}
        await until_blocked(pool, 1)
        tasks[second] = asyncio.create_task(run(second))
        await until_blocked(pool, 2)
    assert await tasks["settle"] == Charge(25, 75, 0)
    assert await tasks["expire"] is (first == "expire")
    assert (await account_of(pool, holder)).balance == 75
    (state,) = await hold_states(pool, holder)
    amounts = [amount for _, amount, _ in await entries_of(pool, holder)]
    expected = {"settle": ("settled", [100, -25]), "expire": ("expired", [100, -10, -15])}
    assert (state, amounts) == expected[first]


async def test_holds_that_are_expired_and_settled_at_random_all_cost_what_they_used(
    pool: Pool, book: Book
) -> None:
    holder = await create_holder(pool, 10_000)
    holds = [await placed(book, holder, f"r{number}", 20) for number in range(30)]
    await end_leases(pool)

    async def end(hold: Hold) -> bool:
        charge, was_expired = await asyncio.gather(
            book.settle(hold, Usage({"output": 13}, total=13)), book.expire(hold, KNOWN)
        )
        assert charge is not None
        assert charge.amount == 13
        return was_expired

    was_expired = await asyncio.gather(*(end(hold) for hold in holds))
    states = await hold_states(pool, holder)
    assert states.count("expired") == sum(was_expired)
    assert states.count("settled") == 30 - sum(was_expired)
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (10_000 - 30 * 13, 0)


# Corrections.


async def quantities_of(pool: Pool) -> dict[str, dict[str, int]]:
    """Read what the rows of the only request say was used, by their kinds."""
    rows = await pool.fetch("SELECT kind, quantities FROM ledger WHERE key_id IS NOT NULL")
    return {row["kind"]: json.loads(row["quantities"]) for row in rows}


@pytest.mark.parametrize("used", [4, 25, 130])
async def test_true_usage_after_an_expiry_is_entered_as_one_adjustment(
    pool: Pool, book: Book, holder: Holder, used: int
) -> None:
    hold = await expired(pool, book, holder)
    usage = Usage({"input": 1, "cached_input": 1, "output": used - 1, "reasoning": 2}, total=used)
    charges = [await book.settle(hold, usage) for _ in range(2)]
    charges += await asyncio.gather(*(book.settle(hold, usage) for _ in range(4)))
    assert set(charges) == {Charge(used, 100 - used, 0)}
    assert await entries_of(pool, holder) == [
        ("grant", 100, 100),
        ("charge", -10, 90),
        ("adjustment", 10 - used, 100 - used),
    ]
    assert await hold_states(pool, holder) == ["expired"]
    (record,) = await charges_of(pool, holder)
    assert (record["input"], record["output"], record["total"]) == (1, used - 1, used)
    assert record["overrun"] == max(used - 60, 0)
    assert await quantities_of(pool) == {
        "charge": {"input": 7, "output": 3},
        "adjustment": {"input": -6, "cached_input": 1, "reasoning": 2}
        | ({"output": used - 4} if used != 4 else {}),
    }


async def test_corrections_at_once_are_entered_once(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await expired(pool, book, holder)
    async with locked(pool, CHANGED_ACCOUNTS):
        settling = [book.settle(hold, Usage(total=used)) for used in (25, 26, 27, 28)]
        tasks = [asyncio.create_task(settle) for settle in settling]
        await until_blocked(pool, 4)
    (charge,) = set(await asyncio.gather(*tasks))
    assert charge is not None
    assert await entries_of(pool, holder) == [
        ("grant", 100, 100),
        ("charge", -10, 90),
        ("adjustment", 10 - charge.amount, charge.balance),
    ]


async def test_true_usage_that_costs_the_same_as_the_estimate_changes_no_balance(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await expired(pool, book, holder)
    assert await book.settle(hold, Usage({"input": 2, "output": 8}, total=10)) == Charge(10, 90, 0)
    assert await entries_of(pool, holder) == [("grant", 100, 100), ("charge", -10, 90)]
    (record,) = await charges_of(pool, holder)
    assert (record["input"], record["output"]) == (2, 8)
    (corrected,) = await pool.fetch(
        "SELECT amount, balance_after, total, estimated FROM ledger WHERE kind = 'adjustment'"
    )
    assert tuple(corrected) == (0, None, 0, False)


async def test_the_first_correction_stands(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await expired(pool, book, holder)
    _ = await book.settle(hold, Usage(total=10))
    assert await book.settle(hold, Usage(total=40)) == Charge(10, 90, 0)
    assert (await account_of(pool, holder)).balance == 90


async def test_a_settled_hold_is_not_corrected(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await placed(book, holder, "a", 60)
    _ = await book.settle(hold, Usage(total=25))
    assert await book.settle(hold, Usage(total=40)) == Charge(25, 75, 0)
    await end_leases(pool)
    assert not await book.expire(hold, KNOWN, orphaned=True)
    assert (await account_of(pool, holder)).balance == 75


async def test_voiding_an_expired_hold_takes_its_charge_back_once(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await expired(pool, book, holder)
    await book.void(hold)
    await book.void(hold)
    assert await hold_states(pool, holder) == ["expired"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)
    kinds = [kind for kind, _, _ in await entries_of(pool, holder)]
    assert kinds == ["grant", "charge", "adjustment"]


async def test_what_was_never_placed_is_unknown(pool: Pool, book: Book, holder: Holder) -> None:
    hold = Hold("a", holder.account_id, 10)
    with pytest.raises(UnknownHold, match="a"):
        _ = await book.settle(hold, Usage(total=5))
    with pytest.raises(UnknownHold, match="a"):
        _ = await book.known(holder.account_id, "a")
    assert not await book.expire(hold, KNOWN, orphaned=True)
    await book.void(hold)
    await book.renew([(hold, None)])
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)


async def test_a_request_is_unknown_to_other_accounts(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    _ = await placed(book, holder, "a", 60)
    with pytest.raises(UnknownHold):
        _ = await book.settle(Hold("a", other.account_id, 60), Usage(total=5))
    assert await hold_states(pool, holder) == ["open"]
