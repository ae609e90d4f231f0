"""One charge explained for people: which tokens, at which rates, and how it was rounded.

It shows what `rates` computes, and must never compute a charge in another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.books.pricing.rates import NANO, charge_for, cost_of, decimal_text, split
from tokenbalance.books.pricing.units import REQUEST, UNITS

if TYPE_CHECKING:
    from tokenbalance.books.pricing.units import Unit, Units
    from tokenbalance.model import Rates, Usage


@dataclass(frozen=True, slots=True)
class BillLine:
    """The cost of one kind of token, or of the request itself."""

    kind: str
    """One of `units`; `total` if every token is one credit."""
    label: str
    """The kind for people."""
    tokens: int
    """The number of tokens; 1 for `request`."""
    rate: str
    """Credits for one, as an exact decimal."""
    credits: str
    """Their product, as an exact decimal."""


@dataclass(frozen=True, slots=True)
class Bill:
    """A charge, line by line: sum + rounding = charge."""

    lines: tuple[BillLine, ...]
    """Only kinds that were used."""
    sum: str
    """Credits, as an exact decimal."""
    rounding: str
    """Credits that rounding up added, as an exact decimal."""
    charge: int


def explain_charge(usage: Usage, rates: Rates | None, units: Units = UNITS) -> Bill:
    """Explain the charge of a request for its usage, at the rates of its hold."""
    charge = charge_for(usage, rates)
    if rates is None:
        total = str(usage.total)
        line = BillLine("total", "Tokens, all kinds", usage.total, "1", total)
        return Bill((line,), total, "0", charge)
    tokens = split(usage, rates.sides)
    if not tokens:
        return Bill((), "0", "0", 0)
    nano = cost_of(tokens, rates)
    used = {**tokens, REQUEST: 1} if rates.nano[REQUEST] else tokens
    lines = tuple(_line(unit, used[unit.name], rates) for unit in units.rows if unit.name in used)
    return Bill(lines, decimal_text(nano), decimal_text(charge * NANO - nano), charge)


def _line(unit: Unit, number: int, rates: Rates) -> BillLine:
    rate = rates.nano[unit.name]
    return BillLine(unit.name, unit.label, number, decimal_text(rate), decimal_text(number * rate))
