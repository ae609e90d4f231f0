"""Factors: what multiplies the cost of tokens, how it is written down, and which apply to a usage.

A factor is an exact fraction. As text it is a decimal where it has one, else `5/3`.
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from tokenbalance.books.pricing.units import INPUT, OUTPUT, TIER
from tokenbalance.model import Factors, Long

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Json, Rates, Usage

ONE: Final = Fraction(1)
STANDARD_TIERS: Final = ("auto", "default", "standard")
"""Names of the usual tier: they cost what the rates say, unless a card lists them."""
UNSCALED: Final = frozenset({INPUT, OUTPUT, *(f"{TIER}{name}" for name in STANDARD_TIERS)})
"""What most usages consist of: `Factors.unscaled` where all factors are 1."""


class Scale(NamedTuple):
    """What multiplies the cost of a request's own tokens, by side."""

    input: Fraction
    output: Fraction


def build_factors(
    tiers: Mapping[str, Fraction],
    assumed: Fraction = ONE,
    long: Long | None = None,
    always: Fraction = ONE,
) -> Factors | None:
    """Make the factors of a request; None if nothing can multiply its cost.

    Args:
        tiers: those that a card lists.
        assumed: the factor of a response that names no tier.
        long: as in `Factors`.
        always: as in `Factors`.

    """
    if long is None and {assumed, always, *tiers.values()} == {ONE}:
        return None
    # In the order of names: the database does not keep that of the card.
    every = {**dict.fromkeys(STANDARD_TIERS, ONE), **{name: tiers[name] for name in sorted(tiers)}}
    return Factors(
        tiers=MappingProxyType(every),
        assumed=assumed,
        dearest=max(every.values()),
        long=long,
        always=None if always == ONE else always,
        unscaled=_unscaled(every) if assumed == always == ONE else frozenset(),
    )


def _unscaled(tiers: Mapping[str, Fraction]) -> frozenset[str]:
    usual = (f"{TIER}{name}" for name, factor in tiers.items() if factor == ONE)
    return frozenset({INPUT, OUTPUT, *usual})


def tiers_of(usage: Usage) -> list[str]:
    """The service tiers at which a usage was served: one, or none where no response named it."""
    return [kind.removeprefix(TIER) for kind in usage.quantities if kind.startswith(TIER)]


def tier_factor(factors: Factors, tier: str) -> Fraction:
    """The factor of a response that names this tier."""
    return factors.tiers.get(tier, factors.dearest)


def is_assumed(kind: str, rates: Rates | None) -> bool:
    """Whether a usage with this kind of tier costs what one without a tier does."""
    factors = None if rates is None else rates.factors
    if factors is None or kind in factors.unscaled:
        return True
    factor, assumed = factors.tiers.get(kind.removeprefix(TIER), factors.dearest), factors.assumed
    # Fractions are slow to compare, and nearly always the same one.
    return factor is assumed or factor == assumed


def scale_of(usage: Usage, factors: Factors) -> Scale | None:
    """Find what multiplies the cost of this usage; None if it is 1."""
    factor = None
    for kind in usage.quantities:
        if kind.startswith(TIER):
            named = factors.tiers.get(kind.removeprefix(TIER), factors.dearest)
            factor = named if factor is None else max(factor, named)
    if factor is None:
        factor = factors.assumed
    if factors.always is not None:
        factor *= factors.always
    long = factors.long
    if long is not None and usage.quantities.get(INPUT, 0) > long.above:
        return Scale(factor * long.input, factor * long.output)
    return None if factor is ONE or factor == 1 else Scale(factor, factor)


def factors_document(factors: Factors) -> dict[str, Json]:
    """Write factors down; what is 1 is left out."""
    document: dict[str, Json] = {}
    tiers: dict[str, Json] = {
        name: exact_text(factor)
        for name, factor in factors.tiers.items()
        if factor != 1 or name not in STANDARD_TIERS
    }
    if tiers:
        document["tiers"] = tiers
    if factors.assumed != 1:
        document["assumed"] = exact_text(factors.assumed)
    if factors.dearest != 1:
        document["dearest"] = exact_text(factors.dearest)
    if (long := factors.long) is not None:
        document["long"] = {
            "above": long.above,
            "input": exact_text(long.input),
            "output": exact_text(long.output),
        }
    if factors.always is not None:
        document["always"] = exact_text(factors.always)
    return document


def factors_from(document: Mapping[str, Json]) -> Factors | None:
    """Read factors as they were written down."""
    tiers = cast("Mapping[str, str]", document.get("tiers", {}))
    long = cast("Mapping[str, str] | None", document.get("long"))
    return build_factors(
        {name: Fraction(factor) for name, factor in tiers.items()},
        Fraction(cast("str", document.get("assumed", "1"))),
        None if long is None else _long_from(long),
        Fraction(cast("str", document.get("always", "1"))),
    )


def _long_from(document: Mapping[str, str]) -> Long:
    return Long(int(document["above"]), Fraction(document["input"]), Fraction(document["output"]))


def exact_text(number: Fraction) -> str:
    """Write a number exactly: as a decimal without trailing zeros, or as `5/3` if it has none."""
    places = _decimal_places(number.denominator)
    if places is None:
        return f"{number.numerator}/{number.denominator}"
    shifted = abs(number.numerator) * int("1" + "0" * places)
    digits = str(shifted // number.denominator).rjust(places + 1, "0")
    sign = "-" if number < 0 else ""
    if not places:
        return f"{sign}{digits}"
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def _decimal_places(denominator: int) -> int | None:
    """Count the decimal places of a fraction in lowest terms; None if they never end."""
    counts: list[int] = []
    for prime in (2, 5):
        count = 0
        while denominator % prime == 0:
            denominator //= prime
            count += 1
        counts.append(count)
    return max(counts) if denominator == 1 else None
