"""The proof of charges finds each factor, fee and second bill that was changed, and names it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.books import create_holder, entries_of
from tests.support.broken_books import break_books
from tests.support.price_page import IMAGE_MODEL, MODEL, PRICE_PAGE
from tests.support.priced_usages import any_priced_usage, any_rates
from tests.support.proven_charges import due_for
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import charge_for
from tokenbalance.model import Claim, Conditions, Purpose, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Hold, Rates

ASKED: Final = Conditions("priority", window="24h", is_batch=True, image_model=IMAGE_MODEL)
USED: Final = Usage(
    {
        "input": 300_000,
        "cache_write": 1_000,
        "output": 100,
        "call:web_search": 2,
        "session:code_interpreter": 1,
        "image_tool_input": 10,
        "image_tool_output": 20,
        "image_tool_image_output": 20,
        "second_audio": 4,
        "tier:priority": 1,
    },
    300_130,
)
CHARGE: Final = 802_516
"""1,202,500 for tokens, since the input is long, x 5/3 x 0.75 x 0.5, and 50,953 for the rest."""


@pytest.fixture(scope="module")
def rates() -> Rates:
    return read_rate_card(PRICE_PAGE).rates_for(MODEL, ASKED)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 10**7)


async def place(pool: Pool, holder: Holder, rates: Rates) -> Hold:
    purpose = Purpose("a", "/responses", MODEL, rates)
    hold = await Book(pool).place(holder.caller, purpose, Claim(10**6, 1))
    assert hold is not None
    return hold


def quantities(change: str) -> str:
    return f"UPDATE ledger SET quantities = quantities {change} WHERE kind = 'charge'"  # noqa: S608 - written in these tests


def stored(change: str) -> str:
    return f"UPDATE ledger SET rates = rates {change} WHERE kind = 'charge'"  # noqa: S608 - written in these tests


@pytest.mark.parametrize(
    ("statement", "due"),
    [
        # 1,202,500 x 0.5 x 0.375 + 50,953
        (quantities("""- 'tier:priority' || '{"tier:flex": 1}'"""), 276_422),
        # The dearest: x 3 x 0.375
        (quantities("""- 'tier:priority' || '{"tier:turbo": 1}'"""), 1_403_766),
        (quantities("""- 'tier:priority' || '{"tier:standard": 1}'"""), 501_891),
        (stored("""|| jsonb_set(rates, '{factors,tiers,priority}', '"2"')"""), 952_828),
        (stored("#- '{factors,long}'"), 426_891),
        (stored("""|| jsonb_set(rates, '{factors,long,above}', '300000')"""), 426_891),
        (stored("""|| jsonb_set(rates, '{factors,long,output}', '"3"')"""), 803_453),
        (stored("#- '{factors,always}'"), 2_055_120),
        (stored("- 'factors'"), 652_453),
        (quantities("""|| '{"call:web_search": 3}'"""), CHARGE + 10_000),
        (quantities("""|| '{"call:unheard": 3}'"""), None),
        (stored("- 'call:web_search'"), CHARGE - 20_000),
        (quantities("- 'session:code_interpreter'"), CHARGE - 30_000),
        (quantities("""|| '{"image_tool_input": 11}'"""), CHARGE + 5),
        # Without a rate of its own it costs what other output of the image model does.
        (stored("- 'image_tool_image_output'"), CHARGE - 20 * 26),
        (quantities("- 'second_audio'"), CHARGE - 4 * 75),
        (stored("- 'request'"), CHARGE - 3),
        ("UPDATE ledger SET quantities = '{\"tier:flex\": 1}', total = 0 WHERE amount < 0", 0),
        # Calls are a use even where no token was used.
        ("UPDATE ledger SET quantities = '{\"call:memory\": 1}', total = 0 WHERE amount < 0", 3),
    ],
)
async def test_a_charge_that_does_not_follow_from_its_row_is_named(
    pool: Pool, holder: Holder, rates: Rates, statement: str, due: int | None
) -> None:
    charge = await Book(pool).settle(await place(pool, holder, rates), USED)
    assert charge is not None
    assert charge.amount == CHARGE
    assert (await audit(pool)).violations == []
    await break_books(pool, statement)
    found = (await audit(pool)).violations
    assert found == [
        f"request a of account {holder.account_id}: was charged {CHARGE} credits,"
        f" its rates and usage make {made}"
        for made in (due,)
        if made is not None
    ]


async def test_a_third_is_not_rounded_before_the_sum_is(pool: Pool, holder: Holder) -> None:
    rates = read_rate_card(PRICE_PAGE).rates_for(MODEL, Conditions("priority"))
    charge = await Book(pool).settle(await place(pool, holder, rates), Usage({"input": 3}, 3))
    assert charge is not None
    assert charge.amount == 13  # 3 x 2 x 5/3 + 3
    assert (await audit(pool)).violations == []
    await break_books(
        pool, stored("""|| jsonb_set(rates, '{factors,assumed}', '"1.66666666666666666667"')""")
    )
    (violation,) = (await audit(pool)).violations
    assert violation.endswith("was charged 13 credits, its rates and usage make 14")


async def test_a_corrected_request_has_the_tier_and_the_fees_of_its_correction(
    pool: Pool, holder: Holder, rates: Rates
) -> None:
    hold, book = await place(pool, holder, rates), Book(pool)
    known = Usage({"input": 9_000, "output": 1}, 9_001, estimated=True)
    assert await book.expire(hold, known, orphaned=True)
    assert (await audit(pool)).violations == []
    await book.correct(hold, USED)
    assert (await audit(pool)).violations == []
    entries = await entries_of(pool, holder)
    assert sum(amount for kind, amount, _ in entries if kind != "grant") == -CHARGE
    await break_books(
        pool,
        "UPDATE ledger SET quantities = quantities - 'call:web_search' WHERE kind = 'adjustment'",
    )
    (violation,) = (await audit(pool)).violations
    assert violation.endswith(f"its rates and usage make {CHARGE - 20_000}")


async def test_what_an_expired_request_had_and_its_correction_takes_back_costs_nothing(
    pool: Pool, holder: Holder, rates: Rates
) -> None:
    hold, book = await place(pool, holder, rates), Book(pool)
    assert await book.expire(hold, replace(USED, estimated=True), orphaned=True)
    await book.correct(hold, Usage({"input": 8, "tier:flex": 1, "call:web_search": 1}, 8))
    entries = await entries_of(pool, holder)
    # 8 x 2 x 0.5 x 0.375 + 10,000 + 3
    assert sum(amount for kind, amount, _ in entries if kind != "grant") == -10_006
    assert (await audit(pool)).violations == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(usage=any_priced_usage, more=any_priced_usage, rates=any_rates)
async def test_the_proof_computes_every_charge_as_the_book_does(
    pool: Pool, usage: Usage, more: Usage, rates: Rates
) -> None:
    assert await due_for(pool, usage, rates) == charge_for(usage, rates)
    both = Usage(
        {kind: usage.of(kind) + more.of(kind) for kind in {**usage.quantities, **more.quantities}},
        usage.total + more.total,
    )
    assert await due_for(pool, usage, rates, correction=more) == charge_for(both, rates)


@pytest.mark.parametrize(
    ("asked", "served", "charge", "is_kept"),
    [
        ("auto", "default", 203, False),
        ("default", "standard", 203, False),
        # A tier that is not the one asked for changes the charge.
        ("flex", "default", 203, True),
        ("priority", "standard", 203, True),
        ("auto", "flex", 103, True),
        ("flex", "flex", 103, True),
    ],
)
async def test_the_usual_tier_is_kept_only_where_it_changes_the_charge(
    pool: Pool, holder: Holder, asked: str, served: str, charge: int, *, is_kept: bool
) -> None:
    rates = read_rate_card(PRICE_PAGE).rates_for(MODEL, Conditions(asked))
    usage = Usage({"input": 100, f"tier:{served}": 1}, 100)
    settled = await Book(pool).settle(await place(pool, holder, rates), usage)
    assert settled is not None
    assert settled.amount == charge
    kept = await pool.fetchval(
        f"SELECT quantities ? 'tier:{served}' FROM ledger WHERE kind = 'charge'"  # noqa: S608 - made here
    )
    assert kept is is_kept
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(("served", "is_kept"), [("default", False), ("priority", True)])
async def test_without_rates_only_an_unusual_tier_is_kept(
    pool: Pool, holder: Holder, served: str, *, is_kept: bool
) -> None:
    hold = await Book(pool).place(holder.caller, Purpose("a", "/responses", MODEL), Claim(9, 9))
    assert hold is not None
    settled = await Book(pool).settle(hold, Usage({"input": 4, f"tier:{served}": 1}, 4))
    assert settled is not None
    assert settled.amount == 4
    stored = await pool.fetchval("SELECT quantities::text FROM ledger WHERE kind = 'charge'")
    assert ("tier" in stored) is is_kept
    assert (await audit(pool)).violations == []


async def test_the_proof_rounds_up_for_the_smallest_part_of_a_large_charge(pool: Pool) -> None:
    card = (
        'version = 2\n[[models]]\nmatch = "m"\ninput = 0.000000001\noutput = 3\n'
        'tier = { flex = "1/3" }\nlong = { above = 0, input = "1/1000000007", output = 1 }'
    )
    rates = read_rate_card(card).rates_for("m", Conditions("flex"))
    usage = Usage({"input": 1, "output": 10**14}, 10**14 + 1)
    assert charge_for(usage, rates) == 10**14 + 1
    assert await due_for(pool, usage, rates) == 10**14 + 1
