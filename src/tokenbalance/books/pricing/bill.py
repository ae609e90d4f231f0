"""One charge explained for people: which tokens, at which rates, and how it was rounded.

It shows what `rates` computes, and must never compute a charge in another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.books.pricing.rates import (
    NANO,
    TOKEN_KINDS,
    charge_for,
    decimal_text,
    split,
    token_rates,
)

if TYPE_CHECKING:
    from tokenbalance.model import Rates, Usage


@dataclass(frozen=True, slots=True)
class BillLine:
    """The cost of one kind of token, or of the request itself."""

    kind: str
    """One of `rates.KINDS`; `total` if every token is one credit."""
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


def explain_charge(usage: Usage, rates: Rates | None) -> Bill:
    """Explain the charge of a request for its usage, at the rates of its hold."""
    charge = charge_for(usage, rates)
    if rates is None:
        total = str(usage.total)
        return Bill((BillLine("total", usage.total, "1", total),), total, "0", charge)
    if not (usage.total or usage.input or usage.output):
        return Bill((), "0", "0", 0)
    tokens = zip(TOKEN_KINDS, split(usage), token_rates(rates), strict=True)
    used = (*tokens, ("request", int(rates.request > 0), rates.request))
    nano = sum(number * rate for _, number, rate in used)
    lines = tuple(
        BillLine(kind, number, decimal_text(rate), decimal_text(number * rate))
        for kind, number, rate in used
        if number
    )
    return Bill(lines, decimal_text(nano), decimal_text(charge * NANO - nano), charge)
