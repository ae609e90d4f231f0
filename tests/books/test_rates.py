"""Tokens to credits: exact, rounded once, and never beyond what was held for them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbalance.books.pricing.bill import BillLine, explain_charge
from tokenbalance.books.pricing.ceilings import minimum_for, paid_for, wanted_for
from tokenbalance.books.pricing.rates import (
    AMOUNT_MAX,
    NANO,
    build_rates,
    charge_for,
    decimal_text,
    rates_document,
    rates_from,
    split,
    stored_rates,
)
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Estimate, Rates, Usage

MICRO_DOLLARS = rates_from({"input": "0.15", "cached_input": "0.075", "output": "0.6"})

# Small numbers meet at edges more often than large ones.
nano_rates = st.one_of(st.sampled_from([0, 1, NANO, 9 * NANO]), st.integers(0, 10**15))
rates = st.fixed_dictionaries(
    {"input": nano_rates, "output": nano_rates},
    optional=dict.fromkeys(set(UNITS.names) - {"input", "output"}, nano_rates),
).map(build_rates)
maybe_rates = st.one_of(st.none(), rates)
counts = st.one_of(st.integers(0, 5), st.integers(0, 5_000))


@st.composite
def estimates(draw: st.DrawFn, *, is_capped: bool | None = None) -> Estimate:
    """Any ceiling of a request."""
    capped = draw(st.booleans()) if is_capped is None else is_capped
    input_tokens = draw(counts)
    return Estimate(
        input_tokens=input_tokens,
        choices=draw(st.integers(1, 5)),
        output_cap=draw(st.integers(1, 5_000)) if capped else draw(st.integers(0, 50)),
        output_minimum=draw(st.integers(0, 20)),
        cap_fields=("max_tokens",) if capped else (),
        predicted=draw(st.one_of(st.just(0), st.integers(0, input_tokens))),
        has_media=draw(st.booleans()),
    )


def up_to(limit: int) -> st.SearchStrategy[int]:
    """Everything, nothing, or something between."""
    return st.one_of(st.just(limit), st.integers(0, limit), st.just(0))


@st.composite
def usages_within(draw: st.DrawFn, estimate: Estimate, cap: int) -> Usage:
    """What a request may use at most when it was told this cap, however it divides."""
    predicted = draw(up_to(estimate.predicted))
    inputs = draw(up_to(estimate.input_tokens - predicted))
    outputs = draw(up_to(estimate.choices * cap + predicted))
    written = draw(up_to(outputs))
    parts = {
        kind: draw(up_to(whole))
        for side, whole in (("input", inputs), ("output", written))
        for kind in UNITS.of(side, media=estimate.has_media)
    }
    return Usage({**parts, "input": inputs, "output": written}, total=inputs + outputs)


@st.composite
def largest_usages(draw: st.DrawFn, estimate: Estimate, cap: int) -> Usage:
    """All of it, and all of one kind: costs are linear, so nothing between can cost more."""
    media = estimate.has_media
    predicted = draw(st.sampled_from([0, estimate.predicted]))
    inputs, outputs = estimate.input_tokens - predicted, estimate.choices * cap + predicted
    quantities = {
        "input": inputs,
        "output": outputs,
        draw(st.sampled_from(UNITS.of("input", media=media))): inputs,
        draw(st.sampled_from(UNITS.of("output", media=media))): outputs,
    }
    return Usage(quantities, total=inputs + outputs)


def usages(estimate: Estimate, cap: int) -> st.SearchStrategy[Usage]:
    return st.one_of(largest_usages(estimate, cap), usages_within(estimate, cap))


any_usage = st.builds(
    Usage, st.fixed_dictionaries({}, optional=dict.fromkeys(UNITS.tokens, counts)), counts
)


def test_without_rates_a_token_is_a_credit() -> None:
    usage = Usage({"input": 3, "cached_input": 2, "output": 4, "reasoning": 1}, total=40)
    assert charge_for(usage, None) == 40
    estimate = Estimate(10, choices=2, output_cap=5, output_minimum=1, cap_fields=("n",))
    assert (wanted_for(estimate, None), minimum_for(estimate, None)) == (20, 12)
    assert paid_for(estimate, 17, None).output_cap == 3


def test_every_kind_has_its_own_rate_and_no_token_two() -> None:
    card = {
        "input": "1",
        "cached_input": "10",
        "audio_input": "100",
        "image_input": "1000",
        "output": "0.1",
        "reasoning": "0.01",
        "audio_output": "0.001",
        "image_output": "0.0001",
        "request": "5",
    }
    usage = Usage(
        {
            "input": 10,
            "cached_input": 4,
            "audio_input": 3,
            "image_input": 2,
            "output": 100,
            "reasoning": 40,
            "audio_output": 30,
            "image_output": 20,
        },
        total=110,
    )
    #      fee  plain cached  audio     image     plain     reasoning  audio       image
    exact = 5 + 1 + 4 * 10 + 3 * 100 + 2 * 1000 + Decimal(1) + Decimal("0.4") + Decimal("0.032")
    assert charge_for(usage, rates_from(card)) == ceil(exact)
    assert explain_charge(usage, rates_from(card)).sum == str(exact)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            Usage({"input": 10, "audio_input": 8, "image_input": 7, "cached_input": 6}),
            {"audio_input": 8, "image_input": 2},
        ),
        (
            Usage({"input": 10, "image_input": 7, "cached_input": 6}),
            {"cached_input": 3, "image_input": 7},
        ),
        (
            Usage({"output": 10, "audio_output": 8, "image_output": 7, "reasoning": 6}),
            {"audio_output": 8, "image_output": 2},
        ),
        (Usage({"output": 10, "reasoning": 6}), {"output": 4, "reasoning": 6}),
        (Usage({"input": 1, "cached_input": 9, "audio_input": 9}), {"audio_input": 1}),
    ],
)
def test_parts_that_overlap_are_taken_in_order_until_nothing_is_left(
    usage: Usage, expected: dict[str, int]
) -> None:
    assert split(replace(usage, total=usage.input + usage.output)) == expected


def test_what_only_the_total_counts_costs_what_output_costs() -> None:
    usage = Usage({"input": 10, "output": 5}, total=115)
    assert charge_for(usage, rates_from({"output": "2"})) == 210


def test_a_total_below_its_parts_takes_nothing_away() -> None:
    usage = Usage({"input": 10, "output": 5}, total=1)
    assert charge_for(usage, rates_from({"input": "1", "output": "1"})) == 15


def test_what_used_nothing_costs_nothing_not_even_the_fee() -> None:
    card = rates_from({"input": "1", "request": "7"})
    assert charge_for(Usage(), card) == 0
    assert charge_for(Usage({"cached_input": 3}), card) == 0
    assert charge_for(Usage(total=1), card) == 7
    assert explain_charge(Usage(), card).lines == ()


def test_a_sum_is_rounded_up_once_and_only_if_it_is_not_whole() -> None:
    tenth = rates_from({"input": "0.1", "output": "0.1"})
    assert charge_for(Usage({"input": 5, "output": 5}, total=10), tenth) == 1
    assert charge_for(Usage({"input": 5, "output": 6}, total=11), tenth) == 2
    assert charge_for(Usage({"input": 1}, total=1), rates_from({"input": "0.000000001"})) == 1


def test_an_amount_is_never_more_than_the_books_can_add_up() -> None:
    dear = rates_from({"input": "1000000", "output": "1000000"})
    huge = Estimate(10**9, choices=10**7, output_cap=2**31, cap_fields=("max_tokens",))
    assert charge_for(Usage({"input": 2**53}, total=2**53), dear) == AMOUNT_MAX
    assert wanted_for(huge, dear) == AMOUNT_MAX
    assert (
        charge_for(Usage({"output": 10**7 * paid_for(huge, AMOUNT_MAX, dear).output_cap}), dear)
        < AMOUNT_MAX
    )


def test_a_hold_is_at_least_one_credit_even_where_everything_is_free() -> None:
    free = build_rates({})
    estimate = Estimate(100, output_cap=50, output_minimum=1, cap_fields=("max_tokens",))
    assert (wanted_for(estimate, free), minimum_for(estimate, free)) == (1, 1)
    assert paid_for(estimate, 1, free).output_cap == 50


def test_the_dearest_kind_is_held_and_media_only_where_there_may_be_some() -> None:
    card = rates_from({"input": "1", "cached_input": "2", "audio_input": "30", "output": "4"})
    text = Estimate(10, output_cap=10, cap_fields=("max_tokens",))
    assert wanted_for(text, card) == 10 * 2 + 10 * 4
    assert wanted_for(replace(text, has_media=True), card) == 10 * 30 + 10 * 4
    thinking = rates_from({"input": "1", "output": "4", "reasoning": "9", "image_output": "50"})
    assert wanted_for(text, thinking) == 10 + 10 * 9
    assert wanted_for(replace(text, has_media=True), thinking) == 10 + 10 * 50


def test_a_prediction_is_held_at_the_rate_of_output() -> None:
    estimate = Estimate(30, output_cap=10, cap_fields=("max_tokens",), predicted=20)
    assert wanted_for(estimate, rates_from({"input": "1", "output": "4"})) == 10 + 20 * 4 + 10 * 4


@given(st.data(), estimates(), maybe_rates)
def test_no_usage_within_the_estimate_costs_more_than_the_hold(
    data: st.DataObject, estimate: Estimate, rates: Rates | None
) -> None:
    usage = data.draw(usages(estimate, estimate.output_cap))
    assert charge_for(usage, rates) <= wanted_for(estimate, rates)


@given(st.data(), estimates(is_capped=True), maybe_rates)
def test_no_usage_at_the_told_cap_costs_more_than_what_was_granted(
    data: st.DataObject, estimate: Estimate, rates: Rates | None
) -> None:
    least, most = minimum_for(estimate, rates), wanted_for(estimate, rates)
    assert least <= most
    amount = data.draw(st.integers(least, most))
    cap = paid_for(estimate, amount, rates).output_cap
    assert min(max(estimate.output_minimum, 1), estimate.output_cap) <= cap <= estimate.output_cap
    assert charge_for(data.draw(usages(estimate, cap)), rates) <= amount


@given(st.data(), estimates(is_capped=True), rates)
def test_the_told_cap_is_the_largest_that_the_amount_pays_for(
    data: st.DataObject, estimate: Estimate, rates: Rates
) -> None:
    amount = data.draw(
        st.integers(minimum_for(estimate, rates), wanted_for(estimate, rates)), label="amount"
    )
    cap = paid_for(estimate, amount, rates).output_cap
    assert wanted_for(replace(estimate, output_cap=cap), rates) <= amount
    if cap < estimate.output_cap:
        assert wanted_for(replace(estimate, output_cap=cap + 1), rates) > amount


@given(any_usage, rates)
def test_a_charge_is_the_exact_sum_rounded_up(usage: Usage, rates: Rates) -> None:
    prices = {kind: Fraction(nano, NANO) for kind, nano in rates.nano.items()}
    exact = sum((tokens * prices[kind] for kind, tokens in split(usage).items()), prices["request"])
    used = usage.total or any(usage.of(side) for side, _ in UNITS.sides)
    assert charge_for(usage, rates) == (ceil(exact) if used else 0)


@given(any_usage)
def test_the_parts_make_the_whole(usage: Usage) -> None:
    tokens = split(usage)
    wholes = {
        side: sum(tokens.get(kind, 0) for kind in (side, *parts)) for side, parts in UNITS.sides
    }
    hidden = wholes["output"] - usage.output
    assert wholes == {side: usage.of(side) for side in wholes} | {"output": usage.output + hidden}
    assert hidden == max(usage.total - sum(wholes.values()) + hidden, 0)
    assert all(number > 0 for number in tokens.values())


@given(any_usage, maybe_rates)
def test_a_bill_adds_up_to_the_charge(usage: Usage, rates: Rates | None) -> None:
    bill = explain_charge(usage, rates)
    assert bill.charge == charge_for(usage, rates)
    exact = sum(Fraction(line.credits) for line in bill.lines)
    assert exact == Fraction(bill.sum)
    assert exact + Fraction(bill.rounding) == bill.charge
    assert 0 <= Fraction(bill.rounding) < 1
    assert all(line.tokens * Fraction(line.rate) == Fraction(line.credits) for line in bill.lines)


def test_a_bill_shows_each_kind_that_was_used() -> None:
    usage = Usage({"input": 100, "cached_input": 40, "output": 7}, total=107)
    bill = explain_charge(usage, MICRO_DOLLARS)
    assert bill.lines == (
        BillLine("input", "Input tokens", 60, "0.15", "9"),
        BillLine("cached_input", "Cached input tokens", 40, "0.075", "3"),
        BillLine("output", "Output tokens", 7, "0.6", "4.2"),
    )
    assert (bill.sum, bill.rounding, bill.charge) == ("16.2", "0.8", 17)


def test_a_bill_without_rates_is_the_total() -> None:
    bill = explain_charge(Usage({"input": 3, "output": 4}, total=7), None)
    assert bill.lines == (BillLine("total", "Tokens, all kinds", 7, "1", "7"),)
    assert (bill.sum, bill.rounding, bill.charge) == ("7", "0", 7)


@given(rates)
def test_rates_are_read_back_as_they_were_stored_and_shown(rates: Rates) -> None:
    assert stored_rates(rates.text) == rates
    assert rates_from(rates_document(rates)) == rates


def test_only_what_differs_from_the_kind_that_it_follows_is_stored() -> None:
    assert rates_from(rates_document(MICRO_DOLLARS)).text == MICRO_DOLLARS.text
    assert MICRO_DOLLARS.text == '{"input": "0.15", "cached_input": "0.075", "output": "0.6"}'
    assert stored_rates(None) is None


@given(st.integers(-(10**20), 10**20))
def test_a_decimal_is_exact(nano: int) -> None:
    assert Fraction(decimal_text(nano)) == Fraction(nano, NANO)
