"""One charge explained for people: what was used, at which rates and factors, how it was rounded.

It shows what `rates` computes, and must never compute a charge in another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from tokenbalance.books.pricing.factors import exact_text, scale_of, tier_factor, tiers_of
from tokenbalance.books.pricing.rates import NANO, charge_for, cost_of, counts_of, factor_for, split
from tokenbalance.books.pricing.units import INPUT, REQUEST, UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.books.pricing.units import Units
    from tokenbalance.model import Rates, Usage


@dataclass(frozen=True, slots=True)
class BillLine:
    """The cost of one kind: of tokens, calls or other units, or of the request itself."""

    kind: str
    """One of `units`; `total` if every token is one credit."""
    label: str
    """The kind for people."""
    tokens: int
    """The number of tokens, or of what else the kind counts; 1 for `request`."""
    rate: str
    """Credits for one, as an exact decimal."""
    credits: str
    """Number x rate x factor, exactly: a decimal, or a fraction such as `5/3` if it has none."""
    factor: str = "1"
    """What multiplies it, as `credits`; of tokens only."""


@dataclass(frozen=True, slots=True)
class BillFactor:
    """One reason why tokens cost more or less than their rates say."""

    label: str
    """For people."""
    input: str
    """What multiplies the cost of input, exactly: a decimal or a fraction."""
    output: str
    """The same for output."""


@dataclass(frozen=True, slots=True)
class Bill:
    """A charge, line by line: sum + rounding = charge."""

    lines: tuple[BillLine, ...]
    """Only kinds that were used."""
    sum: str
    """Credits, exactly: a decimal or a fraction."""
    rounding: str
    """Credits that rounding up added, as `sum`."""
    charge: int
    factors: tuple[BillFactor, ...] = ()
    """What the factors of the lines are the product of; those of 1 are left out."""


def explain_charge(usage: Usage, rates: Rates | None, units: Units = UNITS) -> Bill:
    """Explain the charge of a request for its usage, at the rates of its hold."""
    charge = charge_for(usage, rates)
    if rates is None:
        total = str(usage.total)
        line = BillLine("total", "Tokens, all kinds", usage.total, "1", total)
        return Bill((line,), total, "0", charge)
    lines = tuple(_lines(usage, rates, units))
    if not lines:
        return Bill((), "0", "0", charge)
    cost = Fraction(cost_of(usage, rates), NANO)
    return Bill(lines, exact_text(cost), exact_text(charge - cost), charge, _factors(usage, rates))


def _lines(usage: Usage, rates: Rates, units: Units) -> Iterator[BillLine]:
    used = _used(usage, rates)
    scale = None if rates.factors is None else scale_of(usage, rates.factors)
    sides = {unit.name: unit.side for unit in units.rows}
    order = [*units.names, *sorted(used.keys() - sides.keys())]
    for kind in order:
        if kind not in used:
            continue
        rate = Fraction(rates.nano.get(kind, 0), NANO)
        factor = Fraction(factor_for(sides.get(kind), scale))
        yield BillLine(
            kind=kind,
            label=units.label(kind),
            tokens=used[kind],
            rate=exact_text(rate),
            credits=exact_text(used[kind] * rate * factor),
            factor=exact_text(factor),
        )


def _used(usage: Usage, rates: Rates) -> dict[str, int]:
    """Everything that a charge is made of, each counted once."""
    used = {**split(usage, rates.sides), **counts_of(usage, rates.sides)}
    if used and rates.nano[REQUEST]:
        used[REQUEST] = 1
    return used


def _factors(usage: Usage, rates: Rates) -> tuple[BillFactor, ...]:
    factors = rates.factors
    if factors is None:
        return ()
    named = tiers_of(usage)
    if named:
        found = [("Service tier " + name, tier_factor(factors, name)) for name in named]
        label, tier = max(found, key=lambda each: each[1])
    else:
        label, tier = "Service tier, as asked for", factors.assumed
    both = [(label, tier, tier)]
    long = factors.long
    if long is not None and usage.of(INPUT) > long.above:
        both.append((f"Input above {long.above:,} tokens", long.input, long.output))
    if factors.always is not None:
        both.append(("Batch, completion window and region", factors.always, factors.always))
    return tuple(
        BillFactor(label, exact_text(input_), exact_text(output))
        for label, input_, output in both
        if (input_, output) != (1, 1)
    )
