"""Why a hold is larger than the charge is likely to be: what it assumes, and what each costs.

Each assumption is judged by the same question: how much smaller would the hold be without it? It
never computes a hold in another way than `ceilings`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.ceilings import cost_of_use, dearest_use, tokens_of, wanted_for
from tokenbalance.books.pricing.factors import exact_text
from tokenbalance.books.pricing.rates import decimal_text
from tokenbalance.books.pricing.units import INPUT, OUTPUT, UNITS
from tokenbalance.model import PLAIN, Peak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Conditions, Estimate, Factors, HostedCalls, Rates

_ONE: Final = Fraction(1)


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something that a hold covers, and that may not happen."""

    name: str
    """For programs, never changed: `tool_calls`, `tool_fees`, `image_tool`, `search_fee`,
    `token_kinds`, `cache_lifetime`, `service_tier`, `long_context`, `surcharge`,
    `stored_context`."""
    text: str
    """For people: one sentence."""
    credits: int
    """By so many credits the hold is larger than without it."""
    factor: str | None = None
    """What it multiplies the cost of tokens by, as a decimal or `5/3`; None: it adds to it."""


def assumptions_of(
    estimate: Estimate, rates: Rates | None, asked: Conditions = PLAIN
) -> tuple[Assumption, ...]:
    """Find what makes the hold of a request dear, the dearest first.

    Args:
        estimate: its ceiling.
        rates: what it is held at.
        asked: what it asks for, besides its model.

    """
    found = list(_of_calls(estimate, rates))
    if rates is not None:
        found += _of_kinds(estimate, rates, asked)
        if rates.factors is not None:
            found += _of_factors(estimate, rates, rates.factors, asked)
    dear = [each for each in found if each.credits > 0]
    return tuple(sorted(dear, key=lambda each: each.credits, reverse=True))


def _of_calls(estimate: Estimate, rates: Rates | None) -> Iterator[Assumption]:
    wanted = wanted_for(estimate, rates)
    calls = estimate.calls
    if calls is not None:
        free = replace(estimate, calls=replace(calls, uses=()))
        without_fees = wanted_for(free, rates)
        if calls.uses:
            yield _of_uses(calls, rates, wanted - without_fees)
        yield Assumption(
            "tool_calls",
            f"Up to {calls.most} calls of hosted tools, after each of which the model reads"
            " everything again.",
            without_fees - wanted_for(free.with_calls(0), rates),
        )
    if estimate.assumed:
        yield Assumption(
            "stored_context",
            f"What the upstream stores is not counted for a quote: up to {estimate.assumed} tokens,"
            " which fill the model's context window.",
            wanted - wanted_for(estimate.without_assumed, rates),
        )
    if estimate.unreported:
        yield Assumption(
            "search_fee",
            "A search of the web before the output, which has a fee.",
            wanted - wanted_for(replace(estimate, unreported=()), rates),
        )


def _of_uses(calls: HostedCalls, rates: Rates | None, credit: int) -> Assumption:
    dearest = dearest_use(calls, rates)
    tokens = tokens_of(dearest)
    if tokens:
        text = f"Each of {calls.most} calls may use up to {tokens} tokens of another model."
        return Assumption("image_tool", text, credit)
    each = "0" if rates is None else decimal_text(cost_of_use(dearest, rates))
    text = f"Each of {calls.most} calls of hosted tools may have a fee of {each} credits."
    return Assumption("tool_fees", text, credit)


def _of_kinds(estimate: Estimate, rates: Rates, asked: Conditions) -> Iterator[Assumption]:
    """What tokens cost that may be of a dearer kind than plain text."""
    nano = rates.nano
    plain = replace(
        rates,
        input_peak=Peak(nano[INPUT], nano[INPUT]),
        output_peak=Peak(nano[OUTPUT], nano[OUTPUT]),
    )
    usual = replace(rates, input_peak=_usual_peak(rates))
    wanted, usually = wanted_for(estimate, rates), wanted_for(estimate, usual)
    peak = rates.input_peak.media if estimate.has_media else rates.input_peak.text
    yield Assumption(
        "cache_lifetime",
        f"All input may be written into the prompt cache for {asked.cache_lifetime}, at"
        f" {decimal_text(peak)} credits a token.",
        wanted - usually,
    )
    yield Assumption(
        "token_kinds",
        "Every token may be of the dearest kind that it can be, such as a cache write.",
        usually - wanted_for(estimate, plain),
    )


def _usual_peak(rates: Rates) -> Peak:
    """The highest rates of input that is cached no longer than usual."""
    text = (rates.nano[kind] for kind in UNITS.of(INPUT, media=False, lasting=False))
    every = (rates.nano[kind] for kind in UNITS.of(INPUT, media=True, lasting=False))
    return Peak(max(text), max(every))


def _of_factors(
    estimate: Estimate, rates: Rates, factors: Factors, asked: Conditions
) -> Iterator[Assumption]:
    wanted = wanted_for(estimate, rates)

    def saved(without: Factors) -> int:
        return wanted - wanted_for(estimate, replace(rates, factors=without))

    yield Assumption(
        "service_tier",
        f"With service_tier `{asked.tier}` the request may be served at a tier that costs"
        f" {exact_text(factors.assumed)} times as much.",
        saved(replace(factors, assumed=_ONE)),
        exact_text(factors.assumed),
    )
    if factors.long is not None:
        yield Assumption(
            "long_context",
            f"The input may have more than {factors.long.above} tokens, and then costs"
            f" {exact_text(factors.long.input)} times as much, and the output"
            f" {exact_text(factors.long.output)} times.",
            saved(replace(factors, long=None)),
            exact_text(factors.long.input),
        )
    if factors.always is not None:
        yield Assumption(
            "surcharge",
            f"Requests to this upstream cost {exact_text(factors.always)} times as much, by its"
            " region or the completion window.",
            saved(replace(factors, always=None)),
            exact_text(factors.always),
        )
