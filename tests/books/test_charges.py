"""Charges with factors, fees and second bills: exact, never less for more, and explained."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.price_page import IMAGE_MODEL, MODEL, PRICE_PAGE
from tests.support.priced_usages import TIERS, any_priced_usage, any_rates, rising_rates
from tokenbalance.books.pricing.bill import BillFactor, BillLine, explain_charge
from tokenbalance.books.pricing.factors import build_factors, exact_text
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import (
    build_rates,
    charge_for,
    cost_of,
    rates_from,
    stored_rates,
)
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Conditions, Long, Usage

if TYPE_CHECKING:
    from tokenbalance.model import Factors, Rates

DIVISIONS: Final = {
    "input": "audio_input image_input cached_image_input cached_input cache_write cache_write_12h",
    "output": "audio_output image_output reasoning",
    "image_tool_input": (
        "image_tool_image_input image_tool_cached_image_input image_tool_cached_input"
    ),
    "image_tool_output": "image_tool_image_output",
    "svg_input": "",
    "svg_output": "svg_reasoning",
}
"""How each side divides, in the order of taking: written down once more, not read from the table.
"""
COUNTED: Final = (
    *("second_audio", "second_video", "character", "image", "gb_day"),
    *("call:web_search", "call:file_search", "session:shell"),
)


def exact(usage: Usage, rates: Rates) -> Fraction:
    """What a usage costs in credits, computed in another way than `rates` does."""
    credit = {kind: Fraction(nano, 10**9) for kind, nano in rates.nano.items()}
    costs: dict[str, Fraction] = {}
    for side, parts in DIVISIONS.items():
        left, cost = usage.of(side), Fraction(0)
        for part in parts.split():
            taken = min(left, usage.of(part))
            left, cost = left - taken, cost + taken * credit[part]
        costs[side] = cost + left * credit[side]
    known = sum(usage.of(side) for side in DIVISIONS)
    costs["output"] += max(usage.total - known, 0) * credit["output"]
    if not (known or usage.total or any(map(usage.of, COUNTED))):
        return Fraction(0)
    factor_in, factor_out = factors_of(usage, rates.factors)
    return (
        costs.pop("input") * factor_in
        + costs.pop("output") * factor_out
        + sum(costs.values())
        + sum(usage.of(kind) * credit.get(kind, 0) for kind in COUNTED)
        + credit["request"]
    )


def factors_of(usage: Usage, factors: Factors | None) -> tuple[Fraction, Fraction]:
    if factors is None:
        return Fraction(1), Fraction(1)
    both = factors.assumed
    for kind in usage.quantities:
        if kind.startswith("tier:"):
            both = factors.tiers.get(kind[5:], max(factors.tiers.values()))
    both *= factors.always or 1
    if factors.long is None or usage.input <= factors.long.above:
        return both, both
    return both * factors.long.input, both * factors.long.output


@given(any_priced_usage, any_rates)
def test_a_charge_is_the_exact_sum_rounded_up_once(usage: Usage, rates: Rates) -> None:
    charge = charge_for(usage, rates)
    assert charge == min(ceil(exact(usage, rates)), 10**18)
    assert type(charge) is int
    assert type(cost_of(usage, rates)) in {int, Fraction}


@given(
    st.sampled_from([0, 1, 4_500, 4_501]),
    st.sampled_from([0, 1, 700]),
    st.none() | st.sampled_from(TIERS),
    st.sampled_from([-1, 0, 0, 0, 1]),
    any_rates,
    st.booleans(),
)
def test_plain_input_and_output_are_charged_by_the_same_sum(
    inputs: int, outputs: int, tier: str | None, hidden: int, rates: Rates, usual: bool
) -> None:
    if usual:
        factors = build_factors({"priority": Fraction(5, 3)}, long=Long(4_500, *[Fraction(2)] * 2))
        nano = {"input": 5 * 10**8, "output": 2 * 10**9, "request": 7 * 10**9}
        rates = build_rates(nano, factors=factors)
    named = {} if tier is None else {f"tier:{tier}": 1}
    usage = Usage({"input": inputs, "output": outputs, **named}, max(inputs + outputs + hidden, 0))
    assert charge_for(usage, rates) == min(ceil(exact(usage, rates)), 10**18)


@given(any_priced_usage, rising_rates, st.sampled_from((*DIVISIONS, *COUNTED)), st.integers(1, 99))
def test_a_charge_is_never_less_for_more(
    usage: Usage, rates: Rates, kind: str, number: int
) -> None:
    tokens = number if kind in DIVISIONS else 0
    more = Usage({**usage.quantities, kind: usage.of(kind) + number}, usage.total + tokens)
    assert charge_for(more, rates) >= charge_for(usage, rates)


def test_the_sides_divide_as_they_are_written_down() -> None:
    assert {side: " ".join(parts) for side, parts in UNITS.sides} == DIVISIONS
    assert set(UNITS.counts) < set(COUNTED)


@given(any_priced_usage, any_rates)
def test_a_bill_adds_up_to_the_charge_with_its_factors(usage: Usage, rates: Rates) -> None:
    bill = explain_charge(usage, rates)
    assert bill.charge == charge_for(usage, rates)
    total = sum(Fraction(line.credits) for line in bill.lines)
    assert total == Fraction(bill.sum) == exact(usage, rates)
    assert total + Fraction(bill.rounding) == bill.charge
    for line in bill.lines:
        assert line.tokens * Fraction(line.rate) * Fraction(line.factor) == Fraction(line.credits)
    product = [Fraction(1), Fraction(1)]
    for factor in bill.factors:
        product[0] *= Fraction(factor.input)
        product[1] *= Fraction(factor.output)
    own = {line.kind: Fraction(line.factor) for line in bill.lines}
    for side, expected in zip(("input", "output"), product, strict=True):
        kinds = UNITS.of(side, media=True)
        assert {own[kind] for kind in kinds if kind in own} <= {expected}


@given(any_rates)
def test_rates_with_factors_are_read_back_as_they_were_stored(rates: Rates) -> None:
    assert stored_rates(rates.text) == rates


def test_a_bill_shows_each_kind_factor_and_fee() -> None:
    rates = read_rate_card(PRICE_PAGE).rates_for(
        MODEL, Conditions("flex", is_batch=True, image_model=IMAGE_MODEL)
    )
    usage = Usage(
        {
            "input": 272_001,
            "output": 7,
            "image_tool_output": 3,
            "call:web_search": 2,
            "session:code_interpreter": 1,
            "tier:priority": 1,
        },
        272_011,
    )
    bill = explain_charge(usage, rates)
    assert bill.lines == (
        BillLine("input", "Input tokens", 272_001, "2", "906670", "5/3"),
        BillLine("output", "Output tokens", 7, "10", "87.5", "1.25"),
        BillLine("image_tool_output", "Image tool: output tokens", 3, "4", "12"),
        BillLine("request", "Request", 1, "3", "3"),
        BillLine("call:web_search", "Web search calls", 2, "10000", "20000"),
        BillLine("session:code_interpreter", "Code interpreter sessions", 1, "30000", "30000"),
    )
    assert bill.factors == (
        BillFactor("Service tier priority", "5/3", "5/3"),
        BillFactor("Input above 272,000 tokens", "2", "1.5"),
        BillFactor("Batch, completion window and region", "0.5", "0.5"),
    )
    assert (bill.sum, bill.rounding, bill.charge) == ("956772.5", "0.5", 956_773)


def test_a_bill_says_that_the_tier_was_only_asked_for() -> None:
    rates = read_rate_card(PRICE_PAGE).rates_for(MODEL, Conditions("priority"))
    bill = explain_charge(Usage({"input": 1}, 1), rates)
    assert bill.factors == (BillFactor("Service tier, as asked for", "5/3", "5/3"),)
    assert bill.lines[0].credits == "10/3"
    assert (bill.sum, bill.rounding, bill.charge) == ("19/3", "2/3", 7)


def test_a_call_without_a_fee_is_on_the_bill_and_costs_nothing() -> None:
    bill = explain_charge(Usage({"input": 1, "call:crawl": 2}, 1), rates_from({"input": "1"}))
    assert bill.lines[1] == BillLine("call:crawl", "Crawl calls", 2, "0", "0")
    assert bill.charge == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(5, 3), "5/3"),
        (Fraction(3, 2), "1.5"),
        (Fraction(1, 80), "0.0125"),
        (Fraction(-7, 4), "-1.75"),
        (Fraction(1000), "1000"),
        (Fraction(0), "0"),
    ],
)
def test_an_exact_number_is_a_decimal_or_a_fraction(number: Fraction, text: str) -> None:
    assert exact_text(number) == text


@given(st.fractions())
def test_an_exact_number_is_read_back(number: Fraction) -> None:
    assert Fraction(exact_text(number)) == number
