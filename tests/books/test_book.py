"""The book of holds, on a real Postgres with real commits and real locks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.books import account_of, charges_of, create_holder, hold_states, place, placed
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Charge, Hold, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool


@pytest.fixture
def book(pool: Pool) -> Book:
    return Book(pool)


async def test_a_hold_reserves_what_is_wanted(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    assert await placed(book, holder, "a", 30) == Hold("a", holder.account_id, 30)
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 30)


async def test_a_hold_takes_what_the_balance_affords_when_that_is_less(
    pool: Pool, book: Book
) -> None:
    holder = await create_holder(pool, 100)
    hold = await place(book, holder, "a", wanted=500, minimum=40)
    assert hold is not None
    assert hold.amount == 100


async def test_a_hold_below_its_minimum_is_not_placed(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 39)
    assert await place(book, holder, "a", wanted=500, minimum=40) is None
    assert (await account_of(pool, holder)).held == 0
    assert await hold_states(pool, holder) == []


async def test_a_busy_account_refuses_and_does_not_cap(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    await placed(book, holder, "a", 60)
    assert await place(book, holder, "b", wanted=50, minimum=10) is None
    assert await place(book, holder, "c", wanted=40, minimum=10) is not None


async def test_overdraft_extends_what_can_be_held(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 10, overdraft=20)
    assert await place(book, holder, "a", wanted=31, minimum=31) is None
    assert await place(book, holder, "b", wanted=30, minimum=30) is not None


async def test_exactly_as_many_simultaneous_holds_are_placed_as_fit(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 7 * 13 + 12)
    holds = await asyncio.gather(*(place(book, holder, f"r{n}", 13, 13) for n in range(40)))
    assert sum(hold is not None for hold in holds) == 7
    assert (await account_of(pool, holder)).held == 7 * 13


async def test_one_request_has_one_hold(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    await placed(book, holder, "a", 10)
    with pytest.raises(asyncpg.UniqueViolationError):
        await place(book, holder, "a", 10, 10)
    assert (await account_of(pool, holder)).held == 10


async def test_settling_charges_the_usage_and_releases_the_rest(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    hold = await placed(book, holder, "a", 60)
    charge = await book.settle(
        hold, Usage({"input": 10, "output": 15, "cached_input": 4}, total=25)
    )
    assert charge is not None
    assert (charge.amount, charge.balance, charge.held) == (25, 75, 0)
    (entry,) = await charges_of(pool, holder)
    assert (entry["amount"], entry["balance_after"], entry["estimated"]) == (-25, 75, False)
    assert (entry["input"], entry["output"], entry["cached_input"], entry["overrun"]) == (
        10,
        15,
        4,
        0,
    )
    assert await hold_states(pool, holder) == ["settled"]


async def test_settling_twice_charges_once(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    hold = await placed(book, holder, "a", 60)
    charges = await asyncio.gather(*(book.settle(hold, Usage(total=25)) for _ in range(8)))
    # A retry after a lost answer is told the charge as it stands.
    assert set(charges) == {Charge(25, 75, 0)}
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (75, 0)
    assert len(await charges_of(pool, holder)) == 1


async def test_usage_beyond_the_hold_is_charged_and_recorded_as_overrun(
    pool: Pool, book: Book
) -> None:
    holder = await create_holder(pool, 100)
    hold = await placed(book, holder, "a", 60)
    charge = await book.settle(hold, Usage(total=130))
    assert charge is not None
    assert charge.balance == -30
    (entry,) = await charges_of(pool, holder)
    assert entry["overrun"] == 70


async def test_voiding_gives_everything_back_once(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    hold = await placed(book, holder, "a", 60)
    await book.void(hold)
    await book.void(hold)
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)
    assert await hold_states(pool, holder) == ["voided"]


async def test_what_was_voided_cannot_be_settled_and_what_was_settled_cannot_be_voided(
    pool: Pool, book: Book
) -> None:
    holder = await create_holder(pool, 100)
    voided, settled = await placed(book, holder, "a", 20), await placed(book, holder, "b", 20)
    await book.void(voided)
    assert await book.settle(voided, Usage(total=5)) is None
    await book.settle(settled, Usage(total=5))
    await book.void(settled)
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (95, 0)


async def test_ends_and_holds_of_one_account_do_not_deadlock(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 10_000)

    async def live(number: int) -> None:
        hold = await placed(book, holder, f"r{number}", 10)
        if number % 2:
            await book.void(hold)
        else:
            await book.settle(hold, Usage(total=3))

    await asyncio.gather(*(live(number) for number in range(100)))
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (10_000 - 50 * 3, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET amount = amount + 1",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
    ],
)
async def test_the_ledger_is_append_only(pool: Pool, statement: str) -> None:
    await create_holder(pool, 100)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await pool.execute(statement)


def entry(kind: str, amount: int, columns: str = "note", values: str = "''") -> str:
    """Write an entry of every account."""
    return (
        f"INSERT INTO ledger (account_id, kind, amount, balance_after, actor, {columns})"  # noqa: S608 - written in this test
        f" SELECT id, '{kind}', {amount}, 0, 'x', {values} FROM accounts"
    )


def an_end(kind: str, amount: int, state: str) -> str:
    """Write an entry that is the end of a request, and names all that it has to name."""
    columns = "state, request_id, key_id, hold, endpoint, started_at"
    return entry(kind, amount, columns, f"{state}, 'nobody', 1, 1, '', now()")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET held = -1",
        "UPDATE open_holds SET amount = -1",
        "UPDATE open_holds SET known_input = -1",
        "UPDATE open_holds SET known_output = -1",
        entry("charge", -1),
        entry("charge", -1, "state", "'settled'"),
        an_end("charge", -1, "'lost'"),
        an_end("charge", -1, "'voided'"),
        an_end("charge", 1, "'settled'"),
        an_end("void", 0, "'settled'"),
        an_end("void", -1, "'voided'"),
        an_end("refund", 1, "'settled'"),
        entry("gift", 1),
        entry("grant", 0),
        entry("adjustment", -1, "asked", "0"),
        (
            "INSERT INTO ledger (account_id, kind, amount, actor)"
            " SELECT id, 'grant', 1, 'x' FROM accounts"
        ),
        "INSERT INTO users (email) SELECT upper(email) FROM users",
    ],
)
async def test_the_schema_refuses_broken_states(pool: Pool, book: Book, statement: str) -> None:
    holder = await create_holder(pool, 100)
    await placed(book, holder, "a", 10)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await pool.execute(statement)


async def test_a_second_end_of_a_request_cannot_be_written(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 100)
    hold = await placed(book, holder, "nobody", 10)
    await book.settle(hold, Usage(total=5))
    for kind, state in (("charge", "'settled'"), ("charge", "'expired'"), ("void", "'voided'")):
        with pytest.raises(asyncpg.UniqueViolationError):
            await pool.execute(an_end(kind, 0, state))
