"""A charge is what the price page says: each kind at each tier, written out to the credit."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.support.books import create_holder
from tests.support.price_page import IMAGE_MODEL, MODEL, PRICE_PAGE, SVG_MODEL
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import charge_for, stored_rates
from tokenbalance.model import Claim, Conditions, Purpose, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Rates


class Used(NamedTuple):
    """What a request used, and what that costs at the usual tier, in credits."""

    quantities: dict[str, int]
    total: int
    tokens: Fraction
    """What its own tokens cost: tiers multiply it."""
    others: int
    """What everything else costs."""


KINDS: Final = {
    "text": Used({"input": 1_000, "output": 10}, 1_010, Fraction(1_000 * 2 + 10 * 10), 3),
    "cached": Used(
        {"input": 1_000, "cached_input": 601, "output": 7, "reasoning": 5},
        1_007,
        399 * 2 + Fraction(601, 10) + 2 * 10 + 5 * 12,
        3,
    ),
    "cache writes": Used(
        {"input": 1_001, "cached_input": 1, "cache_write": 300, "cache_write_12h": 600},
        1_001,
        100 * 2 + Fraction(1, 10) + 300 * Fraction(5, 2) + 600 * 5,
        3,
    ),
    "audio": Used(
        {"input": 50, "audio_input": 30, "output": 40, "audio_output": 33},
        90,
        Fraction(20 * 2 + 30 * 20 + 7 * 10 + 33 * 40),
        3,
    ),
    "long": Used(
        {"input": 300_001, "cache_write_12h": 300_000, "output": 11},
        300_012,
        2 * (1 * 2 + 300_000 * 5) + Fraction(3, 2) * 11 * 10,
        3,
    ),
    "hidden output": Used({"input": 3, "output": 4}, 17, Fraction(3 * 2 + 14 * 10), 3),
    "calls": Used(
        {
            "input": 10,
            "output": 1,
            "call:web_search": 7,
            "session:code_interpreter": 2,
            "call:memory": 5,
        },
        11,
        Fraction(10 * 2 + 1 * 10),
        7 * 10_000 + 2 * 30_000 + 5 * 0 + 3,
    ),
    "second bills": Used(
        {
            "input": 10,
            "output": 1,
            "image_tool_input": 100,
            "image_tool_cached_input": 20,
            "image_tool_image_input": 30,
            "image_tool_cached_image_input": 40,
            "image_tool_output": 50,
            "image_tool_image_output": 45,
            "svg_input": 6,
            "svg_output": 8,
            "svg_reasoning": 3,
            "second_audio": 2,
        },
        11 + 150 + 14,
        Fraction(10 * 2 + 1 * 10),
        (10 * 5 + 20 * 5 // 4 + 30 * 8 + 40 * 2 + 5 * 4 + 45 * 30)
        + (6 * 7 + 5 * 9 + 3 * 11)
        + (2 * 75 + 3),
    ),
}
TIERS: Final = {
    "default": Fraction(1),
    "flex": Fraction(1, 2),
    "priority": Fraction(5, 3),
    "ultrafast": Fraction(3),
    # A tier that the card does not know is charged at its dearest.
    "turbo": Fraction(3),
}
ASKED: Final = Conditions(image_model=IMAGE_MODEL, svg_model=SVG_MODEL, tools=("web_search",))


@pytest.fixture(scope="module")
def rates() -> Rates:
    return read_rate_card(PRICE_PAGE).rates_for(MODEL, ASKED)


def usage_of(used: Used, tier: str) -> Usage:
    return Usage({**used.quantities, f"tier:{tier}": 1}, used.total)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_costs_what_the_page_says_at_each_tier(
    rates: Rates, kind: str, tier: str
) -> None:
    used = KINDS[kind]
    charge = charge_for(usage_of(used, tier), rates)
    assert charge == ceil(TIERS[tier] * used.tokens + used.others)
    assert type(charge) is int


async def test_the_books_prove_all_of_them(pool: Pool, rates: Rates) -> None:
    holder = await create_holder(pool, 10**9)
    book = Book(pool)
    charged: dict[str, int] = {}
    for kind, used in KINDS.items():
        for tier in TIERS:
            name = f"{kind} at {tier}"
            purpose = Purpose(name, "/responses", MODEL, rates)
            hold = await book.place(holder.caller, purpose, Claim(1, 1))
            assert hold is not None
            charge = await book.settle(hold, usage_of(used, tier))
            assert charge is not None
            charged[name] = charge.amount
    assert charged == {
        f"{kind} at {tier}": ceil(factor * used.tokens + used.others)
        for kind, used in KINDS.items()
        for tier, factor in TIERS.items()
    }
    assert len(charged) == 40
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("tier", "writes", "truth"),
    [
        ("default", 1_000, 1_000 * 5 + 10 * 10 + 7 * 10_000),
        ("ultrafast", 1_000, 3 * (1_000 * 5 + 100) + 70_000),
        ("default", 300_000, 300_000 * 10 + 150 + 70_000),
    ],
)
def test_what_once_was_undercharged_costs_its_price(tier: str, writes: int, truth: int) -> None:
    card = read_rate_card(PRICE_PAGE.replace("request = 3\n", ""))
    rates = card.rates_for(MODEL, Conditions(tier, "12h", tools=("web_search",)))
    usage = Usage(
        {
            "input": writes,
            "cache_write_12h": writes,
            "output": 10,
            "call:web_search": 7,
            f"tier:{tier}": 1,
        },
        writes + 10,
    )
    assert charge_for(usage, rates) == truth
    assert truth in {75_100, 85_300, 3_070_150}


def test_the_rates_of_a_hold_are_read_back_with_their_factors_and_conditions(rates: Rates) -> None:
    assert stored_rates(rates.text) == rates
    assert '"priority": "5/3"' in rates.text
    assert f'"asked": {{"image_model": "{IMAGE_MODEL}"' in rates.text
