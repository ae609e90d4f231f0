"""What tokens cost in credits: every conversion between the two, and the only place that rounds.

Nothing else may assume a rate. All of it is integer arithmetic: rates are in nano-credits, and the
sum of a request is rounded up to credits once. Without rates one credit is one token, as counted by
the upstream's `total_tokens`.

    input     = audio + image + cached + plain     in this order, each limited to what is left
    output    = audio + image + reasoning + plain  likewise
    total beyond input + output                    plain output: some servers count hidden
                                                   reasoning only in the total
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.model import Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Estimate, Usage

NANO: Final = 10**9
"""Nano-credits in one credit."""

AMOUNT_MAX: Final = 10**18
"""The most credits of a hold or a charge with rates: more than any balance, yet the books can still
add them up. No request comes near it, but a nonsensical usage report may."""

RESPONSE_AFTER_CALLS: Final = 1024
"""Output tokens that the calls of hosted tools must leave: they are useless without a response."""

TOKEN_KINDS: Final = (
    "input",
    "cached_input",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
)
KINDS: Final = (*TOKEN_KINDS, "request")

SIDES: Final = {
    "input": ("audio_input", "image_input", "cached_input"),
    "output": ("audio_output", "image_output", "reasoning"),
}
DEFAULTS: Final = {
    "cached_input": "input",
    "audio_input": "input",
    "image_input": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
}
"""The kind whose rate applies to a kind without one. Any other kind without a rate is free."""


def charge_for(usage: Usage, rates: Rates | None) -> int:
    """The credits for a usage. A request that used nothing costs nothing, not even its fee."""
    if rates is None:
        return usage.total
    if not (usage.total or usage.input or usage.output):
        return 0
    nano = rates.request + sum(
        tokens * rate for tokens, rate in zip(split(usage), token_rates(rates), strict=True)
    )
    return _rounded(nano)


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
    return max(_rounded(_ceiling(estimate, rates, inputs, output)), 1)


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


def split(usage: Usage) -> tuple[int, int, int, int, int, int, int, int]:
    """The tokens of each kind, in the order of `TOKEN_KINDS`; none is counted twice."""
    audio_input = min(usage.of("audio_input"), usage.input)
    left = usage.input - audio_input
    image_input = min(usage.of("image_input"), left)
    left -= image_input
    cached = min(usage.of("cached_input"), left)
    plain_input = left - cached

    audio_output = min(usage.of("audio_output"), usage.output)
    left = usage.output - audio_output
    image_output = min(usage.of("image_output"), left)
    left -= image_output
    reasoning = min(usage.of("reasoning"), left)
    plain_output = left - reasoning + max(usage.total - usage.input - usage.output, 0)
    return (
        plain_input,
        cached,
        plain_output,
        reasoning,
        audio_input,
        audio_output,
        image_input,
        image_output,
    )


def token_rates(rates: Rates) -> tuple[int, int, int, int, int, int, int, int]:
    """The rates of the kinds of tokens, in the order of `TOKEN_KINDS`."""
    return (
        rates.input,
        rates.cached_input,
        rates.output,
        rates.reasoning,
        rates.audio_input,
        rates.audio_output,
        rates.image_input,
        rates.image_output,
    )


def build_rates(nano: Mapping[str, int]) -> Rates:
    """Make rates from those that a card names, in nano-credits by kind."""
    filled = {kind: nano.get(kind, nano.get(DEFAULTS.get(kind, ""), 0)) for kind in KINDS}
    own = {
        kind: decimal_text(rate)
        for kind, rate in filled.items()
        if rate != filled.get(DEFAULTS.get(kind, ""), 0)
    }
    return Rates(**filled, text=json.dumps(own))


@lru_cache(maxsize=256)
def stored_rates(text: str | None) -> Rates | None:
    """Read the rates of a hold as they are stored, in JSON."""
    return None if text is None else rates_from(cast("dict[str, str]", json.loads(text)))


def rates_from(document: Mapping[str, str]) -> Rates:
    """Read rates from decimals by kind, as they are stored with a hold and shown."""
    return build_rates(
        {kind: int(Decimal(document[kind]).scaleb(9)) for kind in KINDS if kind in document}
    )


def rates_document(rates: Rates) -> dict[str, str]:
    """The rate of every kind as an exact decimal, in credits for one token (or one request)."""
    named = zip(KINDS, (*token_rates(rates), rates.request), strict=True)
    return {kind: decimal_text(rate) for kind, rate in named}


def decimal_text(nano: int) -> str:
    """Write nano-credits as credits, exactly and without trailing zeros: `0.15`."""
    if nano < 0:
        return f"-{decimal_text(-nano)}"
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def _rounded(nano: int) -> int:
    """Nano-credits as credits, rounded up: the only place that rounds."""
    return min(-(-nano // NANO), AMOUNT_MAX)


def _ceiling(estimate: Estimate, rates: Rates, inputs: int, output: int) -> int:
    """Nano-credits for this input, and this output of each choice, at the highest rates."""
    input_rate, output_rate = _input_peak(estimate, rates), _output_peak(estimate, rates)
    return (
        rates.request
        + (inputs - estimate.predicted) * input_rate
        + estimate.predicted * max(input_rate, output_rate)
        + estimate.choices * output * output_rate
    )


def _input_peak(estimate: Estimate, rates: Rates) -> int:
    if estimate.has_media:
        return max(rates.input, rates.cached_input, rates.audio_input, rates.image_input)
    return max(rates.input, rates.cached_input)


def _output_peak(estimate: Estimate, rates: Rates) -> int:
    if estimate.has_media:
        return max(rates.output, rates.reasoning, rates.audio_output, rates.image_output)
    return max(rates.output, rates.reasoning)
