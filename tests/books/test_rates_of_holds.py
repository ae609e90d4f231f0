"""A hold keeps the rates that it was placed with: whoever ends it charges by them, and it shows."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.books import account_of, create_holder, end_leases, entries_of
from tests.support.sweeping import new_process, until_states
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.rates import build_rates, charge_for, rates_from
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Charge, Claim, Hold, Purpose, Rates, Usage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

RATES = rates_from({"input": "0.5", "cached_input": "0.25", "output": "3", "request": "2"})
USED = Usage({"input": 10, "cached_input": 4, "output": 7, "reasoning": 2}, total=17)
CHARGE = 27
"""2 + 6 x 0.5 + 4 x 0.25 + 7 x 3."""


def purpose(request_id: str, rates: Rates | None = RATES) -> Purpose:
    return Purpose(request_id, "/chat/completions", "gpt-4o-mini", rates)


async def place(book: Book, holder: Holder, request_id: str, known_input: int = 0) -> Hold:
    claim = Claim(100, 100, known_input, 50)
    hold = await book.place(holder.caller, purpose(request_id), claim)
    assert hold is not None
    return hold


@pytest.fixture
def book(pool: Pool) -> Book:
    return Book(pool)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def test_a_hold_is_charged_at_its_rates(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await place(book, holder, "a")
    assert hold.rates == RATES
    assert await book.settle(hold, USED) == Charge(CHARGE, 1000 - CHARGE, 0)
    assert (await audit(pool)).violations == []


async def test_a_hold_stores_its_rates_and_what_was_estimated(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await place(book, holder, "a", known_input=12)
    row = await pool.fetchrow(
        "SELECT rates::text, estimated_input, estimated_output FROM open_holds"
    )
    assert row is not None
    expected = '{"input": "0.5", "output": "3", "request": "2", "cached_input": "0.25"}'
    assert tuple(row) == (expected, 12, 50)


async def test_a_hold_without_rates_stores_none(pool: Pool, book: Book, holder: Holder) -> None:
    _ = await book.place(holder.caller, purpose("a", None), Claim(10, 10))
    assert await pool.fetchval("SELECT rates IS NULL FROM open_holds")
    assert (await book.known(holder.account_id, "a")).hold.rates is None


async def test_images_are_stored_and_charged_at_their_own_rates(
    pool: Pool, book: Book, holder: Holder
) -> None:
    rates = rates_from({"image_input": "2", "image_output": "5"})
    hold = await book.place(holder.caller, purpose("a", rates), Claim(100, 100))
    assert hold is not None
    usage = Usage({"input": 9, "image_input": 8, "output": 4, "image_output": 3}, total=13)
    assert await book.settle(hold, usage) == Charge(31, 969, 0)
    stored = await pool.fetchval("SELECT quantities FROM ledger WHERE kind = 'charge'")
    assert json.loads(stored) == {"input": 9, "image_input": 8, "output": 4, "image_output": 3}
    assert (await audit(pool)).violations == []


async def test_a_lapsed_hold_is_charged_at_its_rates_and_corrected_at_them(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await place(book, holder, "a", known_input=10)
    await end_leases(pool)
    (known,) = await book.lapsed(5)
    assert known.hold == hold
    assert await book.expire(known.hold, known.usage)
    assert (await account_of(pool, holder)).balance == 1000 - 7
    assert await book.settle(hold, USED) == Charge(CHARGE, 1000 - CHARGE, 0)
    assert await entries_of(pool, holder) == [
        ("grant", 1000, 1000),
        ("charge", -7, 993),
        ("adjustment", -20, 973),
    ]
    assert (await audit(pool)).violations == []


async def test_voiding_takes_the_fee_of_an_expired_hold_back_too(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await place(book, holder, "a", known_input=10)
    assert await book.expire(hold, Usage({"input": 10}, total=10, estimated=True), orphaned=True)
    await book.void(Hold("a", holder.account_id, 0))
    assert (await account_of(pool, holder)).balance == 1000
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize("usage", [USED, None])
async def test_a_journal_of_a_dead_process_is_applied_at_the_rates_of_the_hold(
    pool: Pool, holder: Holder, tmp_path: Path, usage: Usage | None
) -> None:
    dead = await new_process(pool, tmp_path)
    lease = dead.leases.begin(holder.caller, purpose("a"))
    _ = await lease.place(dead.book, Claim(100, 100, 10))
    lease.slot.dispatch()
    if usage is not None:
        lease.slot.use(usage)
    dead.die()
    here = await new_process(pool, tmp_path)
    sweeping = asyncio.create_task(here.sweep.run())
    await until_states(pool, holder, ["expired" if usage is None else "settled"])
    _ = sweeping.cancel()
    _ = await asyncio.wait([sweeping])
    here.leases.close_journal()
    # Of the one without a usage its input is known, 10 tokens.
    expected = 7 if usage is None else CHARGE
    assert (await account_of(pool, holder)).balance == 1000 - expected
    assert (await audit(pool)).violations == []


# The proof.


async def break_books(pool: Pool, statement: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "due"),
    [
        ("""UPDATE ledger SET quantities = quantities || '{"output": 8}'""", 30),
        ("UPDATE ledger SET quantities = quantities - 'cached_input'", 28),
        ("UPDATE ledger SET total = 18 WHERE state IS NOT NULL", 30),
        ("UPDATE ledger SET quantities = NULL, total = 0", 0),
        ("""UPDATE ledger SET rates = rates || '{"reasoning": "3.000000001"}'""", 28),
        ("""UPDATE ledger SET rates = rates - 'request'""", 25),
        ("""UPDATE ledger SET rates = rates || '{"output": "1000000000000000000"}'""", 10**18),
    ],
)
async def test_a_charge_that_is_not_rates_times_usage_is_found(
    pool: Pool, book: Book, holder: Holder, statement: str, due: int
) -> None:
    _ = await book.settle(await place(book, holder, "a"), USED)
    assert (await audit(pool)).violations == []
    await break_books(pool, statement)
    (violation,) = (await audit(pool)).violations
    assert violation == (
        f"request a of account {holder.account_id}: was charged {CHARGE} credits,"
        f" its rates and usage make {due}"
    )


async def test_a_charge_that_was_changed_wherever_it_stands_is_still_found(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await book.settle(await place(book, holder, "a"), USED)
    await break_books(
        pool,
        "UPDATE ledger SET amount = amount + 1, balance_after = balance_after + 1"
        " WHERE kind = 'charge'",
    )
    await break_books(pool, "UPDATE accounts SET balance = balance + 1")
    (violation,) = (await audit(pool)).violations
    assert violation.endswith("was charged 26 credits, its rates and usage make 27")


async def test_rates_that_were_taken_from_a_hold_are_missed(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await book.settle(await place(book, holder, "a"), USED)
    await break_books(pool, "UPDATE ledger SET rates = NULL")
    (violation,) = (await audit(pool)).violations
    assert "took 27 credits, used 17 tokens" in violation


nano = st.one_of(st.integers(0, 4), st.integers(0, 5 * 10**9), st.integers(0, 10**15))
counts = st.one_of(st.integers(0, 9), st.integers(0, 2**53))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    nano=st.dictionaries(st.sampled_from(UNITS.names), nano),
    usage=st.builds(Usage, st.dictionaries(st.sampled_from(UNITS.tokens), counts), counts),
)
async def test_the_proof_computes_every_charge_as_the_book_does(
    pool: Pool, nano: dict[str, int], usage: Usage
) -> None:
    rates = build_rates(nano)
    holder = await create_holder(pool, 1)
    book = Book(pool)
    hold = await book.place(holder.caller, purpose(f"of {holder.account_id}", rates), Claim(1, 1))
    assert hold is not None
    charge = await book.settle(hold, usage)
    assert charge is not None
    assert charge.amount == charge_for(usage, rates)
    assert (await audit(pool)).violations == []
