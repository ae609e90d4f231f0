"""What a rate card does not cover of the models in use: rows, tiers, fees and kinds that it lacks.

Pure: usage and names come in, findings go out. It must never say what a price should be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.equivalents import COUNTS
from tokenbalance.books.pricing.factors import STANDARD_TIERS
from tokenbalance.books.pricing.rate_card import UnpricedModel
from tokenbalance.books.pricing.rates import decimal_text
from tokenbalance.books.pricing.units import INPUT, TIER, is_fee

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from tokenbalance.books.pricing.rate_card import RateCard, Row

_LASTING: Final = "cache_write_12h"


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """A model that was used, or that the upstream offers."""

    name: str
    quantities: Mapping[str, int] = field(default_factory=dict[str, int])
    """What was used of it, by kind; empty if it was only offered."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an operator should know of a model."""

    model: str
    code: str
    """For programs: `no_row`, `default_only`, `no_factor`, `no_rate`."""
    message: str


def uncovered(card: RateCard, models: Iterable[ModelInUse], day: dt.date) -> list[Finding]:
    """Find what the card lacks, model by model, in their order.

    Args:
        card: the operator's.
        models: those in use.
        day: whose rows count.

    """
    return [finding for model in models for finding in _findings(card, model, day)]


def _findings(card: RateCard, model: ModelInUse, day: dt.date) -> list[Finding]:
    try:
        row = card.row_for(model.name, day)
    except UnpricedModel:
        return [Finding(model.name, "no_row", "has no row on the card: requests are refused")]
    findings: list[Finding] = []
    if row is card.default_row:
        message = "has no row on the card: requests are charged by [default]"
        findings.append(Finding(model.name, "default_only", message))
    for kind, number in model.quantities.items():
        finding = _of_kind(model.name, row, kind, number)
        if finding is not None:
            findings.append(finding)
    return findings


def _of_kind(model: str, row: Row, kind: str, number: int) -> Finding | None:
    if kind in row.nano or number <= 0:
        return None
    if kind.startswith(TIER):
        return _of_tier(model, row, kind.removeprefix(TIER), number)
    if is_fee(kind):
        message = f"{kind} was used {number:,} times, and has no fee: it cost nothing"
        return Finding(model, "no_rate", message)
    if kind in row.units.counts:
        stands_for = kind in COUNTS and INPUT in row.nano
        cost = "the tokens that they stand for" if stands_for else "nothing"
        message = f"{number:,} of {kind} were used, and have no rate: they cost {cost}"
        return Finding(model, "no_rate", message)
    if kind == _LASTING:
        rate = decimal_text(row.rates.nano[kind])
        message = (
            f"{number:,} tokens were written to the cache for 12 hours, and {kind} has no rate:"
            f" they cost {rate}, as cache_write does"
        )
        return Finding(model, "no_rate", message)
    return None


def _of_tier(model: str, row: Row, tier: str, number: int) -> Finding | None:
    if tier in row.tiers or tier in STANDARD_TIERS:
        return None
    charged = "as the dearest of its row" if row.version > 1 else "as the standard tier"
    message = (
        f"{number:,} responses came at tier {tier}, which has no factor: they are charged {charged}"
    )
    return Finding(model, "no_factor", message)
