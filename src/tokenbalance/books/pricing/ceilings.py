"""What a hold has to cover: credits for the ceiling of a request, and what fits into fewer.

Computes with the rates that `rates` made, and never with a kind's name. A hold covers the highest
rates that the request may be charged at: the dearest kind of every token, the dearest tier that it
may be served at, a long input where the ceiling is one, and the dearest of its tools in every call.

All of it is integer arithmetic, and exact: rates that are multiplied by factors keep the common
denominator of these, and only what covers the sum is rounded, as a charge is.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.books.pricing.rates import AMOUNT_MAX, NANO, rounded
from tokenbalance.books.pricing.units import REQUEST, UNITS

if TYPE_CHECKING:
    from tokenbalance.model import Estimate, HostedCalls, Quantities, Rates

RESPONSE_AFTER_CALLS: Final = 1024
"""Output tokens that the calls of hosted tools must leave: they are useless without a response."""

_RatesAt: TypeAlias = tuple[int, int, int]
"""Nano-credits for tokens of input, and of output, and for how many tokens they are."""
_SIDES: Final = frozenset(side for side, _ in UNITS.sides)


def wanted_for(estimate: Estimate, rates: Rates | None) -> int:
    """The credits that cover the request whatever happens."""
    calls = 0 if estimate.calls is None else estimate.calls.most
    return _credits_for(estimate, rates, estimate.input_tokens, estimate.output_cap, calls)


def minimum_for(estimate: Estimate, rates: Rates | None) -> int:
    """The least credits for which the request makes sense: its input and the smallest output.

    If the output cannot be capped, this is all of it.
    """
    calls = 0 if estimate.calls is None else estimate.calls.fewest
    return _credits_for(estimate, rates, estimate.least_input, estimate.least_output, calls)


def both_for(estimate: Estimate, rates: Rates | None) -> tuple[int, int]:
    """What `wanted_for` and `minimum_for` return, in less time than both take."""
    if estimate.calls is not None:
        return wanted_for(estimate, rates), minimum_for(estimate, rates)
    inputs = estimate.input_tokens
    if rates is None:
        known = inputs + tokens_of(estimate.more) if estimate.more else inputs
        wanted = known + estimate.choices * estimate.output_cap
        return max(wanted, 1), max(known + estimate.choices * estimate.least_output, 1)
    input_rate, output_rate, per = _rates_at(estimate, rates, inputs)
    fees = _fees(estimate, rates, 0)
    # Two of `_ceiling`, which have all but the output in common.
    known = fees * per + inputs * input_rate
    if estimate.predicted:
        known += _predicted(estimate, input_rate, output_rate)
    for_each = estimate.choices * output_rate
    wanted = rounded(known + for_each * estimate.output_cap, per)
    minimum = rounded(known + for_each * estimate.least_output, per)
    return max(wanted, 1), max(minimum, 1)


def affordable(estimate: Estimate, limit: int, rates: Rates | None) -> Estimate:
    """The estimate that an account with `limit` credits has to cover."""
    covers = estimate.unasked_cap is None or limit >= wanted_for(estimate, rates)
    return estimate if covers else estimate.unasked


def _credits_for(
    estimate: Estimate, rates: Rates | None, inputs: int, output: int, calls: int
) -> int:
    if rates is None:
        tokens = inputs + estimate.choices * output + tokens_of(estimate.more)
        return max(tokens + _call_tokens(estimate, calls) if calls else tokens, 1)
    at = _rates_at(estimate, rates, inputs)
    fees = _fees(estimate, rates, calls)
    return max(rounded(_ceiling(estimate, at, fees, inputs, output)), 1)


def paid_for(estimate: Estimate, amount: int, rates: Rates | None) -> Estimate:
    """Lower an estimate to what `amount` credits, at least the minimum, pay for.

    The input is paid first. Output that the client did not ask for and that is not covered in full
    is lowered to the upstream's own default. Calls of hosted tools are lowered before the output
    is; the last call is only given up if it would leave too little output for the response.
    """
    wanted = wanted_for(estimate, rates)
    if wanted <= amount and wanted < AMOUNT_MAX:
        return estimate
    fitting = _with_calls_within(affordable(estimate, amount, rates), amount, rates)
    if not estimate.cap_fields:
        return fitting
    return replace(fitting, output_cap=_cap_within(fitting, amount, rates))


def _with_calls_within(estimate: Estimate, amount: int, rates: Rates | None) -> Estimate:
    calls = estimate.calls
    if calls is None or calls.most <= calls.fewest or wanted_for(estimate, rates) <= amount:
        return estimate
    response = replace(estimate, output_cap=min(estimate.output_cap, RESPONSE_AFTER_CALLS))
    first = max(calls.fewest, 1)
    if wanted_for(response.with_calls(first), rates) > amount:
        return estimate.with_calls(calls.fewest)
    more = range(first + 1, calls.most)
    return estimate.with_calls(
        first + bisect_right(more, amount, key=lambda n: wanted_for(estimate.with_calls(n), rates))
    )


def _cap_within(estimate: Estimate, amount: int, rates: Rates | None) -> int:
    """The output tokens of each choice that `amount` credits pay for, after the input."""
    inputs = estimate.input_tokens
    calls = 0 if estimate.calls is None else estimate.calls.most
    if rates is None:
        left = amount - inputs - _call_tokens(estimate, calls) - tokens_of(estimate.more)
        return min(left // estimate.choices, estimate.output_cap)
    input_rate, output_rate, per = _rates_at(estimate, rates, inputs)
    if output_rate == 0:
        return estimate.output_cap
    left = (amount * NANO - _fees(estimate, rates, calls)) * per
    left -= inputs * input_rate + _predicted(estimate, input_rate, output_rate)
    return min(left // (estimate.choices * output_rate), estimate.output_cap)


def _ceiling(estimate: Estimate, at: _RatesAt, fees: int, inputs: int, output: int) -> int:
    """Nano-credits for fees, this input and this output of each choice.

    Rounded up to whole ones, which changes no number of credits that covers them.
    """
    input_rate, output_rate, per = at
    cost = inputs * input_rate + estimate.choices * output * output_rate
    if estimate.predicted:
        cost += _predicted(estimate, input_rate, output_rate)
    return fees - (-cost // per)


def _predicted(estimate: Estimate, input_rate: int, output_rate: int) -> int:
    """What predicted tokens cost more than as input."""
    return estimate.predicted * max(output_rate - input_rate, 0)


def _rates_at(estimate: Estimate, rates: Rates, inputs: int) -> _RatesAt:
    """The highest rates of a request whose input is at most so long, with all factors."""
    if estimate.has_media:
        input_rate, output_rate = rates.input_peak.media, rates.output_peak.media
    else:
        input_rate, output_rate = rates.input_peak.text, rates.output_peak.text
    factors = rates.factors
    if factors is None:
        return input_rate, output_rate, 1
    long = factors.long
    is_short = long is None or inputs <= long.above
    if is_short and factors.unscaled:
        return input_rate, output_rate, 1
    # Fractions multiply slowly, and all of this happens several times for each request.
    up, per = factors.assumed.as_integer_ratio()
    if factors.always is not None:
        up, per = up * factors.always.numerator, per * factors.always.denominator
    if long is None or is_short:
        return input_rate * up, output_rate * up, per
    # It may turn out to be short.
    longer_input, longer_output = max(long.input, 1), max(long.output, 1)
    return (
        input_rate * up * longer_input.numerator * longer_output.denominator,
        output_rate * up * longer_output.numerator * longer_input.denominator,
        per * longer_input.denominator * longer_output.denominator,
    )


def _fees(estimate: Estimate, rates: Rates, calls: int) -> int:
    """Nano-credits that no factor multiplies: of the request, and of calls with what they use."""
    cost = rates.nano[REQUEST]
    if estimate.unreported:
        cost += cost_of_use(estimate.unreported, rates)
    if estimate.more:
        cost += cost_of_use(estimate.more, rates)
    if calls and estimate.calls is not None and estimate.calls.uses:
        cost += calls * max(cost_of_use(use, rates) for use in estimate.calls.uses)
    return cost


def cost_of_use(use: Quantities, rates: Rates) -> int:
    """Nano-credits at most of what a call uses besides input.

    Each token of a second bill may be of the dearest kind of its side.
    """
    nano = rates.nano
    parts = dict(rates.sides)
    return sum(
        number * max(nano.get(each, 0) for each in (kind, *parts.get(kind, ())))
        for kind, number in use
    )


def _call_tokens(estimate: Estimate, calls: int) -> int:
    """Tokens at most of the second bills of so many calls."""
    if not calls or estimate.calls is None or not estimate.calls.uses:
        return 0
    return calls * max(map(tokens_of, estimate.calls.uses))


def tokens_of(use: Quantities) -> int:
    """The tokens among what a call uses; a fee has none."""
    return sum(number for kind, number in use if kind in _SIDES)


def dearest_calls(estimate: Estimate, rates: Rates | None) -> Quantities:
    """What the calls of hosted tools use at most besides input: all are of the dearest tool."""
    calls = estimate.calls
    if calls is None or not calls.uses:
        return ()
    return tuple((kind, number * calls.most) for kind, number in dearest_use(calls, rates))


def dearest_use(calls: HostedCalls, rates: Rates | None) -> Quantities:
    """What a call uses at most besides input; there is a tool that uses something."""
    if rates is None:
        return max(calls.uses, key=tokens_of)
    return max(calls.uses, key=lambda use: cost_of_use(use, rates))
