"""What usage costs in credits: every conversion between the two, and the only place that rounds.

Nothing else may assume a rate. All of it is exact: rates are integers of nano-credits, factors are
fractions, and the sum of a request is rounded up to credits once:

    tier x always x (long input factor x input + long output factor x output)
    + second bills + counts + fees + request

Without rates one credit is one token, as counted by the upstream's `total_tokens`.

How input and output divide into kinds is said in `units`. A total beyond all sides is plain output:
some servers count hidden reasoning only in the total.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.pricing.equivalents import is_for_counts
from tokenbalance.books.pricing.factors import UNSCALED, factors_document, factors_from, scale_of
from tokenbalance.books.pricing.units import INPUT, OUTPUT, REQUEST, TIER, UNITS, is_fee
from tokenbalance.model import PLAIN, Conditions, Peak, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.pricing.factors import Scale
    from tokenbalance.books.pricing.units import Units
    from tokenbalance.model import Factors, Json, Sides, Usage

NANO: Final = 10**9
"""Nano-credits in one credit."""

AMOUNT_MAX: Final = 10**18
"""The most credits of a hold or a charge with rates: more than any balance, yet the books can still
add them up. No request comes near it, but a nonsensical usage report may."""

FACTORS: Final = "factors"
ASKED: Final = "asked"
"""Members of stored rates beside the kinds."""
_TOOLS: Final = "tools"


def charge_for(usage: Usage, rates: Rates | None) -> int:
    """The credits for a usage. A request that used nothing costs nothing, not even its fee."""
    return usage.total if rates is None else rounded(cost_of(usage, rates))


def cost_of(usage: Usage, rates: Rates) -> int | Fraction:
    """Nano-credits for a usage, exactly."""
    quantities, factors, long = usage.quantities, rates.factors, None
    unscaled = UNSCALED
    if factors is not None:
        unscaled, long = factors.unscaled, factors.long
    # Most usages are plain input and output. What else there may be takes six times as long.
    if unscaled.issuperset(quantities):
        inputs, outputs = quantities.get(INPUT, 0), quantities.get(OUTPUT, 0)
        is_short = long is None or inputs <= long.above
        # More is hidden output, and nothing costs nothing.
        if is_short and inputs + outputs == usage.total != 0:
            nano = rates.nano
            return nano[REQUEST] + inputs * nano[INPUT] + outputs * nano[OUTPUT]
    return _cost_of_any(usage, rates)


def _cost_of_any(usage: Usage, rates: Rates) -> int | Fraction:
    """Nano-credits for a usage of any kinds, with any factors."""
    tokens = split(usage, rates.sides)
    if not tokens and not counts_of(usage, rates.sides):
        return 0
    nano, quantities = rates.nano, usage.quantities
    cost = nano[REQUEST]
    for kind in rates.extras:
        if kind in quantities:
            cost += quantities[kind] * nano[kind]
    factors = rates.factors
    scale = None if factors is None else scale_of(usage, factors)
    if scale is not None:
        return _scaled(tokens, rates, scale, cost)
    for kind, number in tokens.items():
        cost += number * nano[kind]
    return cost


def _scaled(tokens: Mapping[str, int], rates: Rates, scale: Scale, others: int) -> Fraction:
    """Nano-credits for tokens, where factors apply to those of the request's own model.

    Integers are multiplied out and divided once: many fractions would be slow.
    """
    nano = rates.nano
    own = {INPUT: 0, OUTPUT: 0}
    for side, parts in rates.sides:
        cost = 0
        for kind in (side, *parts):
            if kind in tokens:
                cost += tokens[kind] * nano[kind]
        if side in own:
            own[side] = cost
        else:
            others += cost
    above, below = scale.input.as_integer_ratio()
    above_output, below_output = scale.output.as_integer_ratio()
    return Fraction(
        own[INPUT] * above * below_output
        + own[OUTPUT] * above_output * below
        + others * below * below_output,
        below * below_output,
    )


def factor_for(side: str | None, scale: Scale | None) -> Fraction | int:
    """What multiplies the cost of kinds of this side; 1 for second bills, counts and fees."""
    if scale is not None:
        if side == INPUT:
            return scale.input
        if side == OUTPUT:
            return scale.output
    return 1


def split(usage: Usage, sides: Sides = UNITS.sides) -> Mapping[str, int]:
    """Tokens by kind, without zeros; none is counted twice."""
    quantities = usage.quantities
    tokens: dict[str, int] = {}
    hidden = usage.total
    for side, parts in sides:
        # A usage has no zeros.
        if side not in quantities:
            continue
        left = quantities[side]
        hidden -= left
        for part in parts:
            if left and part in quantities:
                tokens[part] = taken = min(quantities[part], left)
                left -= taken
        if left:
            tokens[side] = left
    if hidden > 0:
        tokens[OUTPUT] = tokens.get(OUTPUT, 0) + hidden
    return tokens


def counts_of(usage: Usage, sides: Sides = UNITS.sides) -> Mapping[str, int]:
    """What was used other than tokens, by kind: calls, seconds, images and the like."""
    tokens = {kind for side, parts in sides for kind in (side, *parts)}
    return {
        kind: number
        for kind, number in usage.quantities.items()
        if kind not in tokens and kind != REQUEST and not kind.startswith(TIER)
    }


def build_rates(
    nano: Mapping[str, int],
    units: Units = UNITS,
    *,
    factors: Factors | None = None,
    asked: Conditions | None = None,
) -> Rates:
    """Make rates from those that a card names, in nano-credits by kind, fees among them.

    Args:
        nano: rates by kind.
        units: the kinds.
        factors: None: all are 1.
        asked: what they were made for; None: not known, so the request may use every kind.

    """
    filled: dict[str, int] = {}
    own: dict[str, Json] = {}
    for unit in units.rows:
        inherited = 0 if unit.parent is None else filled[unit.parent]
        filled[unit.name] = rate = nano.get(unit.name, inherited)
        if rate != inherited:
            own[unit.name] = decimal_text(rate)
    for kind in sorted(filter(is_fee, nano)):
        filled[kind] = nano[kind]
        own[kind] = decimal_text(nano[kind])
    if factors is not None:
        own[FACTORS] = factors_document(factors)
    if asked is not None and (conditions := asked_document(asked)):
        own[ASKED] = conditions
    lasting = asked is None or asked.cache_lifetime != PLAIN.cache_lifetime
    tokens = frozenset((*units.tokens, REQUEST))
    return Rates(
        nano=MappingProxyType(filled),
        text=json.dumps(own),
        sides=units.sides,
        input_peak=_peak(filled, units, INPUT, lasting=lasting),
        output_peak=_peak(filled, units, OUTPUT, lasting=lasting),
        factors=factors,
        extras=tuple(kind for kind, rate in filled.items() if rate and kind not in tokens),
        is_for_counts=is_for_counts(filled),
    )


def _peak(nano: Mapping[str, int], units: Units, side: str, *, lasting: bool) -> Peak:
    text = units.of(side, media=False, lasting=lasting)
    every = units.of(side, media=True, lasting=lasting)
    return Peak(max(nano[kind] for kind in text), max(nano[kind] for kind in every))


@lru_cache(maxsize=256)
def stored_rates(text: str | None) -> Rates | None:
    """Read the rates of a hold as they are stored, in JSON."""
    return None if text is None else rates_from(cast("dict[str, object]", json.loads(text)))


def rates_from(document: Mapping[str, object], units: Units = UNITS) -> Rates:
    """Read rates as they are stored with a hold: decimals by kind, factors and conditions."""
    factors, asked = document.get(FACTORS), document.get(ASKED)
    nano = {
        kind: int(Decimal(cast("str", document[kind])).scaleb(9))
        for kind in (*units.names, *(kind for kind in document if is_fee(kind)))
        if kind in document
    }
    return build_rates(
        nano,
        units,
        factors=None if factors is None else factors_from(cast("dict[str, Json]", factors)),
        asked=None if asked is None else asked_from(cast("dict[str, Json]", asked)),
    )


def rates_document(rates: Rates, units: Units = UNITS) -> dict[str, str]:
    """The rate of a unit of each kind as an exact decimal, in credits, before factors.

    Second bills and counts are left out where they are free.
    """
    usual = {*units.own_tokens, REQUEST}
    nano = rates.nano
    return {
        kind: decimal_text(rate)
        for kind, rate in nano.items()
        if kind in usual or is_fee(kind) or any(nano[name] for name in units.ancestry[kind])
    }


def asked_document(asked: Conditions) -> dict[str, Json]:
    """Write down what a request asked for; what is usual is left out."""
    if asked == PLAIN:
        return {}
    every: dict[str, Json] = {**asked._asdict(), _TOOLS: list(asked.tools)}
    usual = {**PLAIN._asdict(), _TOOLS: list(PLAIN.tools)}
    return {name: value for name, value in every.items() if value != usual[name]}


def asked_from(document: Mapping[str, Json]) -> Conditions:
    """Read what a request asked for, as it was written down."""
    known = {name: value for name, value in document.items() if name in Conditions._fields}
    tools = tuple(cast("list[str]", document.get(_TOOLS, [])))
    return PLAIN._replace(**{**known, _TOOLS: tools})


def decimal_text(nano: int) -> str:
    """Write nano-credits as credits, exactly and without trailing zeros: `0.15`."""
    if nano < 0:
        return f"-{decimal_text(-nano)}"
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def rounded(nano: int | Fraction, per: int = 1) -> int:
    """Nano-credits, divided by `per`, as credits, rounded up: the only place that rounds."""
    return min(-(-nano // (NANO * per)), AMOUNT_MAX)
