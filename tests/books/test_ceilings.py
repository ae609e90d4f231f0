"""What a hold covers: every charge that the request may get, and no lower cap than it pays for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbalance.books.pricing.ceilings import (
    dearest_calls,
    minimum_for,
    paid_for,
    tokens_of,
    wanted_for,
)
from tokenbalance.books.pricing.rates import (
    AMOUNT_MAX,
    NANO,
    build_rates,
    charge_for,
    rates_from,
)
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import PLAIN, Estimate, Factors, HostedCalls, Long, Rates, Usage

SEARCH: Final = "call:web_search"
CONTAINER: Final = "session:code_interpreter"
DRAWN: Final = "image_tool_output"
READ: Final = "image_tool_input"
FEES: Final = (SEARCH, CONTAINER)

# Small numbers meet at edges more often than large ones.
nano_rates = st.one_of(st.sampled_from([0, 1, NANO, 9 * NANO]), st.integers(0, 10**15))
counts = st.one_of(st.integers(0, 5), st.integers(0, 5_000))
fractions = st.sampled_from(
    [Fraction(1), Fraction(1, 2), Fraction(5, 3), Fraction(11, 10), Fraction(3), Fraction(1000)]
)
longs = st.builds(Long, above=counts, input=fractions, output=fractions)


@st.composite
def factors(draw: st.DrawFn) -> Factors:
    """Any factors: of the tiers that a request may be served at, none is above the assumed."""
    tiers = draw(st.dictionaries(st.sampled_from(["flex", "priority", "default"]), fractions))
    assumed = max([draw(fractions), *tiers.values()])
    return Factors(
        MappingProxyType(tiers),
        assumed,
        max(assumed, draw(fractions)),
        draw(st.none() | longs),
        draw(st.none() | fractions),
    )


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    """Any rates, with fees and rates of second bills, and perhaps factors."""
    required = dict.fromkeys(("input", "output", *FEES), nano_rates)
    others = dict.fromkeys(set(UNITS.names) - required.keys(), nano_rates)
    nano: dict[str, int] = draw(st.fixed_dictionaries(required, optional=others))
    asked = draw(st.sampled_from([None, PLAIN]))
    return build_rates(nano, factors=draw(st.none() | factors()), asked=asked)


def is_lasting(rates: Rates | None) -> bool:
    """Whether the request may write what is cached longer than usual."""
    return rates is None or rates.input_peak == build_rates(rates.nano).input_peak


maybe_rates = st.none() | rates()
uses = st.sampled_from([((SEARCH, 1),), ((CONTAINER, 1),), ((READ, 3), (DRAWN, 40)), ((DRAWN, 7),)])


@st.composite
def hosted_calls(draw: st.DrawFn) -> HostedCalls:
    most = draw(st.integers(0, 9))
    return HostedCalls(
        first_turn=draw(counts),
        growth=draw(st.integers(1, 500)),
        context=draw(st.integers(1, 20_000)),
        most=most,
        fewest=draw(st.integers(0, min(most, 1))),
        asked=None,
        uses=tuple(draw(st.lists(uses, max_size=3, unique=True))),
    )


@st.composite
def estimates(draw: st.DrawFn, *, is_capped: bool | None = None) -> Estimate:
    """Any ceiling of a request."""
    capped = draw(st.booleans()) if is_capped is None else is_capped
    calls = draw(st.none() | hosted_calls())
    input_tokens = draw(counts) if calls is None else calls.input_tokens(calls.most)
    predicted = draw(st.just(0) | st.integers(0, input_tokens)) if calls is None else 0
    return Estimate(
        input_tokens=input_tokens,
        choices=draw(st.integers(1, 5)),
        output_cap=draw(st.integers(1, 5_000)) if capped else draw(st.integers(0, 50)),
        output_minimum=draw(st.integers(0, 20)),
        cap_fields=("max_tokens",) if capped else (),
        calls=calls,
        predicted=predicted,
        has_media=draw(st.booleans()),
        unreported=draw(st.sampled_from([(), ((SEARCH, 1),)])),
    )


def up_to(limit: int) -> st.SearchStrategy[int]:
    """Everything, nothing, or something between."""
    return st.one_of(st.just(limit), st.integers(0, limit), st.just(0))


@st.composite
def usages(draw: st.DrawFn, estimate: Estimate, rates: Rates | None) -> Usage:
    """What a request may use at most when it was told this cap and these calls, of any kind."""
    lasting = is_lasting(rates)
    predicted = draw(up_to(estimate.predicted))
    inputs = draw(up_to(estimate.input_tokens - predicted))
    outputs = draw(up_to(estimate.choices * estimate.output_cap + predicted))
    written = draw(up_to(outputs))
    parts = {
        kind: draw(up_to(whole))
        for side, whole in (("input", inputs), ("output", written))
        for kind in UNITS.of(side, media=estimate.has_media, lasting=lasting)
    }
    besides = draw(used_besides(estimate))
    quantities = {**parts, "input": inputs, "output": written, **besides}
    bills = tokens_of(tuple(besides.items()))
    return Usage(quantities, total=inputs + outputs + bills)


@st.composite
def used_besides(draw: st.DrawFn, estimate: Estimate) -> dict[str, int]:
    """What calls use besides input, each of one tool, and what the request uses in any case."""
    used = dict(estimate.unreported)
    calls = estimate.calls
    if calls is not None and calls.uses:
        for _ in range(draw(up_to(calls.most))):
            for kind, number in draw(st.sampled_from(calls.uses)):
                used[kind] = used.get(kind, 0) + draw(up_to(number))
    parts = dict(UNITS.sides)
    for side in list(used):
        used |= {part: draw(up_to(used[side])) for part in parts.get(side, ())}
    return used


def test_without_rates_a_token_is_a_credit() -> None:
    estimate = Estimate(10, choices=2, output_cap=5, output_minimum=1, cap_fields=("n",))
    assert (wanted_for(estimate, None), minimum_for(estimate, None)) == (20, 12)
    assert paid_for(estimate, 17, None).output_cap == 3


def test_an_amount_is_never_more_than_the_books_can_add_up() -> None:
    dear = rates_from({"input": "1000000", "output": "1000000"})
    huge = Estimate(10**9, choices=10**7, output_cap=2**31, cap_fields=("max_tokens",))
    assert wanted_for(huge, dear) == AMOUNT_MAX
    told = 10**7 * paid_for(huge, AMOUNT_MAX, dear).output_cap
    assert charge_for(Usage({"output": told}), dear) < AMOUNT_MAX


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


# Factors, fees and second bills.

TWO_AND_TEN: Final = rates_from({"input": "2", "output": "10", "request": "7"})
THIRDS: Final = Fraction(5, 3)
TEXT: Final = Estimate(100, output_cap=10, output_minimum=1, cap_fields=("max_tokens",))


def multiplied(**members: Any) -> Rates:
    made = Factors(MappingProxyType({}), Fraction(1), Fraction(1))
    return replace(TWO_AND_TEN, factors=replace(made, **members))


def costing(rates: Rates, **nano: int) -> Rates:
    """The same rates, with more kinds."""
    return build_rates({**rates.nano, **nano}, factors=rates.factors)


def test_the_assumed_tier_and_what_always_holds_multiply_tokens_but_no_fee() -> None:
    assert wanted_for(TEXT, multiplied(assumed=Fraction(3))) == 3 * (200 + 100) + 7
    assert wanted_for(TEXT, multiplied(always=Fraction(1, 2))) == 150 + 7
    both = multiplied(assumed=THIRDS, always=Fraction(11, 10))
    assert wanted_for(TEXT, both) == 550 + 7


@pytest.mark.parametrize(("tokens", "wanted"), [(100, 200 + 100 + 7), (101, 404 + 150 + 7)])
def test_a_long_input_multiplies_the_whole_request(tokens: int, wanted: int) -> None:
    card = multiplied(long=Long(100, Fraction(2), Fraction(3, 2)))
    assert wanted_for(replace(TEXT, input_tokens=tokens), card) == wanted


def test_what_may_become_long_but_would_be_cheaper_then_is_held_as_if_it_were_short() -> None:
    card = multiplied(long=Long(50, Fraction(1, 2), Fraction(1, 4)))
    assert wanted_for(TEXT, card) == wanted_for(TEXT, TWO_AND_TEN)


def test_a_sum_with_factors_is_rounded_up_once() -> None:
    penny = replace(
        rates_from({"input": "0.1", "output": "0.1"}),
        factors=Factors(MappingProxyType({}), THIRDS, THIRDS),
    )
    # 6 tokens at 1/6 of a credit are one credit, and a seventh is a part of the next.
    assert wanted_for(Estimate(3, output_cap=3), penny) == 1
    assert wanted_for(Estimate(3, output_cap=4), penny) == 2


SEARCHING: Final = replace(
    TEXT,
    input_tokens=300,
    calls=HostedCalls(100, 100, 100, most=2, fewest=0, asked=None, uses=(((SEARCH, 1),),)),
)


def test_each_call_has_the_dearest_fee_that_it_may_have() -> None:
    card = costing(multiplied(assumed=Fraction(3)), **{SEARCH: 10_000 * NANO})
    assert wanted_for(SEARCHING, card) == 3 * (600 + 100) + 7 + 2 * 10_000
    assert SEARCHING.calls is not None
    either = replace(SEARCHING.calls, uses=(((SEARCH, 1),), ((CONTAINER, 1),)))
    dearer = costing(card, **{CONTAINER: 30_000 * NANO})
    assert wanted_for(replace(SEARCHING, calls=either), dearer) == 2_100 + 7 + 2 * 30_000
    # A fee is no token: without a card it costs nothing.
    assert wanted_for(SEARCHING, None) == 310


def test_what_no_report_has_is_held_even_for_the_least() -> None:
    card = costing(TWO_AND_TEN, **{SEARCH: 5 * NANO})
    searched = replace(TEXT, unreported=((SEARCH, 1),))
    assert wanted_for(searched, card) == wanted_for(TEXT, card) + 5
    assert minimum_for(searched, card) == minimum_for(TEXT, card) + 5


def test_calls_are_given_up_for_their_fees_before_the_request_is() -> None:
    card = costing(TWO_AND_TEN, **{SEARCH: 10_000 * NANO})
    assert minimum_for(SEARCHING, card) == 200 + 10 + 7
    for calls, amount in ((2, 20_707), (1, 20_706), (1, 10_507), (0, 10_506), (0, 217)):
        paid = paid_for(SEARCHING, amount, card)
        assert paid.calls is not None
        assert paid.calls.most == calls, amount
        assert wanted_for(paid, card) <= amount


def test_the_second_bill_of_a_call_counts_in_both_worlds() -> None:
    assert SEARCHING.calls is not None
    drawing = replace(
        SEARCHING, calls=replace(SEARCHING.calls, uses=(((READ, 50), (DRAWN, 400)), ((SEARCH, 1),)))
    )
    assert wanted_for(drawing, None) == 310 + 2 * 450
    one = paid_for(drawing, 310 + 2 * 450 - 10, None)
    assert one.calls is not None
    assert (one.calls.most, one.output_cap) == (1, 10)
    card = costing(TWO_AND_TEN, **{READ: 8 * NANO, DRAWN: 30 * NANO, SEARCH: NANO})
    assert wanted_for(drawing, card) == 700 + 7 + 2 * (400 + 12_000)
    assert dearest_calls(drawing, card) == ((READ, 100), (DRAWN, 800))
    assert dearest_calls(drawing, None) == ((READ, 100), (DRAWN, 800))
    # Its tokens may all be of the dearest kind, such as those of a picture.
    pictures = costing(card, image_tool_image_input=9 * NANO, image_tool_image_output=40 * NANO)
    assert wanted_for(drawing, pictures) == 700 + 7 + 2 * (450 + 16_000)
    searching = costing(card, **{SEARCH: 20_000 * NANO})
    assert dearest_calls(drawing, searching) == ((SEARCH, 2),)


# Whatever the request is.


def charged(usage: Usage, rates: Rates | None, tier: str | None) -> int:
    if rates is None or tier is None:
        return charge_for(usage, rates)
    return charge_for(replace(usage, quantities={**usage.quantities, f"tier:{tier}": 1}), rates)


def tiers_of(rates: Rates | None) -> st.SearchStrategy[str | None]:
    """The tiers that may serve a request which was priced for the assumed one."""
    tiers = () if rates is None or rates.factors is None else tuple(rates.factors.tiers)
    return st.sampled_from([None, *tiers])


@given(st.data(), estimates(), maybe_rates)
def test_no_usage_within_the_estimate_costs_more_than_the_hold(
    data: st.DataObject, estimate: Estimate, rates: Rates | None
) -> None:
    usage, tier = data.draw(usages(estimate, rates)), data.draw(tiers_of(rates))
    assert charged(usage, rates, tier) <= wanted_for(estimate, rates)


@given(st.data(), estimates(is_capped=True), maybe_rates)
def test_no_usage_within_what_was_granted_costs_more_than_the_amount(
    data: st.DataObject, estimate: Estimate, rates: Rates | None
) -> None:
    least, most = minimum_for(estimate, rates), wanted_for(estimate, rates)
    assert least <= most
    amount = data.draw(st.integers(least, most))
    paid = paid_for(estimate, amount, rates)
    floor = min(max(estimate.output_minimum, 1), estimate.output_cap)
    assert floor <= paid.output_cap <= estimate.output_cap
    assert wanted_for(paid, rates) <= amount
    usage, tier = data.draw(usages(paid, rates)), data.draw(tiers_of(rates))
    assert charged(usage, rates, tier) <= amount


@given(st.data(), estimates(is_capped=True), maybe_rates)
def test_the_told_cap_is_the_largest_that_the_amount_pays_for(
    data: st.DataObject, estimate: Estimate, rates: Rates | None
) -> None:
    amount = data.draw(
        st.integers(minimum_for(estimate, rates), wanted_for(estimate, rates)), label="amount"
    )
    paid = paid_for(estimate, amount, rates)
    if paid.output_cap < estimate.output_cap:
        more = replace(paid, output_cap=paid.output_cap + 1)
        assert wanted_for(more, rates) > amount


@given(estimates(), maybe_rates, st.lists(st.integers(0, 10_000), min_size=2, max_size=20))
def test_more_input_never_needs_less(
    estimate: Estimate, rates: Rates | None, lengths: list[int]
) -> None:
    single = replace(estimate, calls=None, predicted=0)
    holds = [minimum_for(replace(single, input_tokens=length), rates) for length in sorted(lengths)]
    assert all(less <= more for less, more in pairwise(holds))


@given(estimates(), maybe_rates)
def test_more_calls_never_need_less(estimate: Estimate, rates: Rates | None) -> None:
    if estimate.calls is None:
        return
    holds = [
        wanted_for(estimate.with_calls(number), rates)
        for number in range(estimate.calls.fewest, estimate.calls.most + 1)
    ]
    assert all(fewer <= more for fewer, more in pairwise(holds))
