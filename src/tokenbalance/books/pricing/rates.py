"""What tokens cost in credits: every conversion between the two, and the only place that rounds.

Nothing else may assume a rate. All of it is integer arithmetic: rates are in nano-credits, and the
sum of a request is rounded up to credits once. Without rates one credit is one token, as counted by
the upstream's `total_tokens`.

How input and output divide into kinds is said in `units`. A total beyond input + output is plain
output: some servers count hidden reasoning only in the total.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.pricing.units import INPUT, OUTPUT, REQUEST, UNITS
from tokenbalance.model import Peak, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.pricing.units import Units
    from tokenbalance.model import Sides, Usage

NANO: Final = 10**9
"""Nano-credits in one credit."""

AMOUNT_MAX: Final = 10**18
"""The most credits of a hold or a charge with rates: more than any balance, yet the books can still
add them up. No request comes near it, but a nonsensical usage report may."""


def charge_for(usage: Usage, rates: Rates | None) -> int:
    """The credits for a usage. A request that used nothing costs nothing, not even its fee."""
    if rates is None:
        return usage.total
    tokens = split(usage, rates.sides)
    return rounded(cost_of(tokens, rates)) if tokens else 0


def cost_of(tokens: Mapping[str, int], rates: Rates) -> int:
    """Nano-credits for a request with these tokens, each counted once."""
    nano = rates.nano
    cost = nano[REQUEST]
    for kind, number in tokens.items():
        cost += number * nano[kind]
    return cost


def split(usage: Usage, sides: Sides = UNITS.sides) -> Mapping[str, int]:
    """Tokens by kind, without zeros; none is counted twice."""
    quantities = usage.quantities
    tokens: dict[str, int] = {}
    hidden = usage.total
    for side, parts in sides:
        left = quantities.get(side, 0)
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


def build_rates(nano: Mapping[str, int], units: Units = UNITS) -> Rates:
    """Make rates from those that a card names, in nano-credits by kind."""
    filled: dict[str, int] = {}
    own: dict[str, str] = {}
    for unit in units.rows:
        inherited = 0 if unit.parent is None else filled[unit.parent]
        filled[unit.name] = rate = nano.get(unit.name, inherited)
        if rate != inherited:
            own[unit.name] = decimal_text(rate)
    return Rates(
        nano=MappingProxyType(filled),
        text=json.dumps(own),
        sides=units.sides,
        input_peak=_peak(filled, units, INPUT),
        output_peak=_peak(filled, units, OUTPUT),
    )


def _peak(nano: Mapping[str, int], units: Units, side: str) -> Peak:
    text, every = units.of(side, media=False), units.of(side, media=True)
    return Peak(max(nano[kind] for kind in text), max(nano[kind] for kind in every))


@lru_cache(maxsize=256)
def stored_rates(text: str | None) -> Rates | None:
    """Read the rates of a hold as they are stored, in JSON."""
    return None if text is None else rates_from(cast("dict[str, str]", json.loads(text)))


def rates_from(document: Mapping[str, str], units: Units = UNITS) -> Rates:
    """Read rates from decimals by kind, as they are stored with a hold and shown."""
    nano = {
        kind: int(Decimal(document[kind]).scaleb(9)) for kind in units.names if kind in document
    }
    return build_rates(nano, units)


def rates_document(rates: Rates) -> dict[str, str]:
    """The rate of every kind as an exact decimal, in credits for one token (or one request)."""
    return {kind: decimal_text(rate) for kind, rate in rates.nano.items()}


def decimal_text(nano: int) -> str:
    """Write nano-credits as credits, exactly and without trailing zeros: `0.15`."""
    if nano < 0:
        return f"-{decimal_text(-nano)}"
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)


def rounded(nano: int) -> int:
    """Nano-credits as credits, rounded up: the only place that rounds."""
    return min(-(-nano // NANO), AMOUNT_MAX)
