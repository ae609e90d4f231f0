"""What a hold has to cover: credits for the ceiling of a request, and what fits into fewer.

Computes with the rates that `rates` made, and never with a kind's name. A hold covers the highest
rates that the request may be charged at.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rates import AMOUNT_MAX, NANO, rounded
from tokenbalance.books.pricing.units import REQUEST

if TYPE_CHECKING:
    from tokenbalance.model import Estimate, Rates

RESPONSE_AFTER_CALLS: Final = 1024
"""Output tokens that the calls of hosted tools must leave: they are useless without a response."""


def wanted_for(estimate: Estimate, rates: Rates | None) -> int:
    """The credits that cover the request whatever happens."""
    return _credits_for(estimate, rates, estimate.input_tokens, estimate.output_cap)


def affordable(estimate: Estimate, limit: int, rates: Rates | None) -> Estimate:
    """The estimate that an account with `limit` credits has to cover."""
    covers = estimate.unasked_cap is None or limit >= wanted_for(estimate, rates)
    return estimate if covers else estimate.unasked


def minimum_for(estimate: Estimate, rates: Rates | None) -> int:
    """The least credits for which the request makes sense: its input and the smallest output.

    If the output cannot be capped, this is all of it.
    """
    return _credits_for(estimate, rates, estimate.least_input, estimate.least_output)


def _credits_for(estimate: Estimate, rates: Rates | None, inputs: int, output: int) -> int:
    if rates is None:
        return max(inputs + estimate.choices * output, 1)
    return max(rounded(_ceiling(estimate, rates, inputs, output)), 1)


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
    if rates is None:
        return min((amount - estimate.input_tokens) // estimate.choices, estimate.output_cap)
    rate = _output_peak(estimate, rates)
    if rate == 0:
        return estimate.output_cap
    left = amount * NANO - _ceiling(estimate, rates, estimate.input_tokens, 0)
    return min(left // (estimate.choices * rate), estimate.output_cap)


def _ceiling(estimate: Estimate, rates: Rates, inputs: int, output: int) -> int:
    """Nano-credits for this input, and this output of each choice, at the highest rates."""
    input_rate, output_rate = _input_peak(estimate, rates), _output_peak(estimate, rates)
    return (
        rates.nano[REQUEST]
        + (inputs - estimate.predicted) * input_rate
        + estimate.predicted * max(input_rate, output_rate)
        + estimate.choices * output * output_rate
    )


def _input_peak(estimate: Estimate, rates: Rates) -> int:
    return rates.input_peak.media if estimate.has_media else rates.input_peak.text


def _output_peak(estimate: Estimate, rates: Rates) -> int:
    return rates.output_peak.media if estimate.has_media else rates.output_peak.text
