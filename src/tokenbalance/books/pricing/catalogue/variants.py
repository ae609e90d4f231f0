"""Service tiers and batches as factors of a rate card.

A catalogue lists a price for every kind at every tier; a card has one factor for all kinds of
tokens at a tier. The factor is that of plain input and output, the dearer where they differ. What
other kinds cost differently is said in a note, never dropped: published prices of cached input are
rounded, for example, or there are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from tokenbalance.books.pricing.catalogue.terms import CatalogueError
from tokenbalance.books.pricing.factors import ONE, exact_text
from tokenbalance.books.pricing.units import INPUT, OUTPUT, UNITS
from tokenbalance.model import Long

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

_PLAIN: Final = (INPUT, OUTPUT)


class Price(NamedTuple):
    """What a token costs, in micro-dollars."""

    base: Fraction
    long: Fraction | None = None
    """In requests with a long input; None: the same."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Prices of kinds of tokens, and from where on an input is long."""

    prices: Mapping[str, Price]
    above: int | None = None
    """Tokens of input up to which a request is not long; None: no request is."""


def long_of(tokens: Tokens) -> tuple[Long | None, tuple[str, ...]]:
    """Return the factors of long requests, the dearest of each side, with notes."""
    if tokens.above is None:
        return None, ()
    long = Long(
        tokens.above,
        _dearest_long(tokens.prices, INPUT),
        _dearest_long(tokens.prices, OUTPUT),
    )
    return long, tuple(
        _of_long(kind, price, price.base, long)
        for kind, price in tokens.prices.items()
        if (price.long or price.base) != price.base * _factor(long, kind)
    )


def factor_of(name: str, standard: Tokens, own: Mapping[str, Price]) -> Fraction:
    """Return the factor of a tier or batch.

    Args:
        name: of the tier, for errors.
        standard: what tokens cost at the standard tier.
        own: prices that are different at this one.

    Raises:
        CatalogueError: only other kinds than plain input and output have prices there.

    """
    factors = [
        own.get(kind, standard.prices[kind]).base / standard.prices[kind].base
        for kind in _PLAIN
        if kind in standard.prices and standard.prices[kind].base
    ]
    if not factors:
        raise CatalogueError(f"the tier {name} has prices, the standard tier has none of tokens")
    return max(factors)


def notes_of(
    name: str, standard: Tokens, own: Mapping[str, Price], factor: Fraction, long: Long | None
) -> list[str]:
    """Say where a factor charges other than the prices at this tier, a sentence each."""
    prices = {kind: own.get(kind, price) for kind, price in standard.prices.items()}
    notes: list[str] = []
    for kind, price in prices.items():
        charged = standard.prices[kind].base * factor
        if price.base != charged:
            listed = exact_text(price.base)
            costs = f"costs {listed} by the list" if kind in own else "has no list price of its own"
            notes.append(f"{name}: {kind} {costs}, {exact_text(charged)} by this row")
    if long is None:
        return notes
    if all(price.long is None for price in prices.values()):
        return [*notes, f"{name} has no list price above {long.above:,}"]
    for kind, price in prices.items():
        charged = standard.prices[kind].base * factor
        listed_long = price.long or price.base
        if price.base == charged and listed_long != charged * _factor(long, kind):
            notes.append(f"{name}: {_of_long(kind, price, charged, long)}")
    return notes


def _of_long(kind: str, price: Price, base: Fraction, long: Long) -> str:
    """Say that a kind costs something else in long requests than a row charges."""
    listed = exact_text(price.long or price.base)
    charged = exact_text(base * _factor(long, kind))
    return f"{kind} costs {listed} above {long.above:,} by the list, {charged} by this row"


def _dearest_long(prices: Mapping[str, Price], side: str) -> Fraction:
    factors = (
        price.long / price.base
        for kind, price in prices.items()
        if _side(kind) == side and price.long is not None and price.base
    )
    return max(factors, default=ONE)


def _factor(long: Long, kind: str) -> Fraction:
    return long.input if _side(kind) == INPUT else long.output


def _side(kind: str) -> str | None:
    return next((unit.side for unit in UNITS.rows if unit.name == kind), None)
