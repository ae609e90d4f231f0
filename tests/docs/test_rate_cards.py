"""The page about rate cards: its cards can be read, its sums are right, and it names every key."""

from __future__ import annotations

from collections import Counter

from tests.docs.pages import codes, page
from tokenbalance.books.pricing.bill import explain_charge
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rate_card.reading import CARD_KEYS, FACTOR_KEYS, ROW_KEYS
from tokenbalance.books.pricing.rates import charge_for
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Conditions, Usage

PAGE = page("docs/rate-cards.md")
SIMPLE, FULL, FEES = [
    read_rate_card(block.text) for block in PAGE.blocks if block.language == "toml"
]


def test_the_first_example_of_a_charge_is_computed_by_the_first_card() -> None:
    rows = PAGE.rows("How a charge is computed")
    charge = next(row for row in rows if row[0] == "charge")
    usage = Usage({"input": 1000, "cached_input": 600, "output": 200}, total=1200)
    assert charge_for(usage, SIMPLE.rates_for("gpt-4o-mini")) == int(charge[-1])


def test_the_example_with_everything_is_the_bill_of_the_second_card() -> None:
    rates = FULL.rates_for("gpt-6.2-sol", Conditions(image_model="gpt-image-2"))
    usage = Usage(
        {
            "input": 300_000,
            "cached_input": 250_000,
            "cache_write_12h": 40_000,
            "output": 1_000,
            "image_tool_input": 500,
            "image_tool_output": 1_000,
            "image_tool_image_output": 1_000,
            "call:web_search": 2,
            "tier:priority": 1,
        },
        302_500,
    )
    bill = explain_charge(usage, rates)
    *lines, charge = PAGE.rows("With everything")
    assert sorted((row[1], row[2], row[3] or "1", row[4]) for row in lines) == sorted(
        (f"{line.tokens:,}", grouped(line.rate), line.factor, grouped(line.credits))
        for line in bill.lines
    )
    assert charge[-1] == f"{bill.charge:,}"


def grouped(number: str) -> str:
    return f"{int(number):,}" if number.isdigit() else number


def told_in(heading: str) -> Counter[str]:
    return Counter(code for row in PAGE.rows(heading) for code in codes(row[0]))


def test_every_key_of_a_card_is_explained() -> None:
    others = told_in("What is read from a response") + told_in("Known prices")
    told = set(told_in("Rate cards") - others)
    keys = {*CARD_KEYS, *ROW_KEYS, *FACTOR_KEYS, *UNITS.priced_in(2)}
    # The tables of rows and of the default are told in the text.
    assert told == keys - {"models", "default"}
