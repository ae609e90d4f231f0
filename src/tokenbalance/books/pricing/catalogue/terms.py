"""What models cost by a catalogue: data only, exact, in micro-dollars.

A dollar for a million tokens is a micro-dollar for each, so list prices can be read as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from tokenbalance.model import Long


class CatalogueError(Exception):
    """A catalogue cannot be used, or says what a card cannot; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a model costs from one day on."""

    since: dt.date | None
    """None: from the beginning."""
    rates: Mapping[str, Fraction]
    """Micro-dollars for one unit, by kind."""
    fees: Mapping[str, Fraction] = field(default_factory=dict[str, Fraction])
    """Micro-dollars for one call or session, by tool."""
    long: Long | None = None
    tiers: Mapping[str, Fraction] = field(default_factory=dict[str, Fraction])
    """The factors of service tiers that cost other than 1."""
    batch: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()
    """Where a card charges other than the catalogue says, a sentence each."""


@dataclass(frozen=True, slots=True)
class PricedModel:
    """One model of a catalogue."""

    name: str
    patterns: tuple[str, ...]
    """Globs for all its names."""
    history: tuple[Terms, ...]
    """Oldest first."""
    source: str
    """Where its prices come from, with dates, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models of one upstream."""

    source: str
    """Its name and version."""
    models: tuple[PricedModel, ...]
    """In an order in which the first that matches counts."""
