"""What a request may be priced by: rates, factors, and the conditions that it asks for.

Data only; `books.pricing` makes these and computes with them. Rates are integer nano-credits,
factors exact fractions: nothing here is a float.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

Sides: TypeAlias = "tuple[tuple[str, tuple[str, ...]], ...]"
"""Kinds of tokens that are no part of others, each with those that it divides into, in the order of
division: input and output, and those of the second bills."""

Quantities: TypeAlias = "tuple[tuple[str, int], ...]"
"""Numbers by kind, as pairs: hashable and in order."""


class Conditions(NamedTuple):
    """What decides the price of a request besides its model: what it asks for, and offers."""

    tier: str = "auto"
    """Its `service_tier`."""
    cache_lifetime: str = "30m"
    """For what it writes into the prompt cache."""
    window: str = ""
    """Its completion window in the background; empty: none."""
    is_batch: bool = False
    """It is a line of a batch."""
    image_model: str | None = None
    """The model of its image tool; None: it offers no such tool."""
    svg_model: str | None = None
    """The model that its image tool may have SVG written by."""
    tools: tuple[str, ...] = ()
    """Tools run by the upstream that it offers, by the name of their fee, sorted."""


PLAIN: Final = Conditions()


class Peak(NamedTuple):
    """The highest rate that tokens of one side of a request may have, in nano-credits."""

    text: int
    """Where everything is text."""
    media: int
    """Where audio and images are possible too."""


class Long(NamedTuple):
    """What a request with a long input costs more."""

    above: int
    """Tokens of input up to which it is not long."""
    input: Fraction
    """The factor of all input."""
    output: Fraction
    """The factor of all output."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What multiplies the cost of tokens, but no fee."""

    tiers: Mapping[str, Fraction] = field(hash=False)
    """By the service tier of the response."""
    assumed: Fraction
    """Where the response names no tier, and in holds: the highest of what was asked for."""
    dearest: Fraction
    """Where the response names a tier that has no factor."""
    long: Long | None = None
    always: Fraction | None = None
    """Batch, window and region of this request together; None: 1."""
    unscaled: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The whole sides and the tiers that a usage may consist of and not be multiplied, unless its
    input is long."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one unit of each kind costs for one request, in nano-credits (10**-9): exact integers.

    Built by `books.pricing.rates`, which fills in what a card leaves out. Where None stands for
    rates, every token is one credit.
    """

    nano: Mapping[str, int] = field(hash=False)
    """By kind, for every kind of the table, and fees of calls. That of `request` is for once, if
    anything was used."""
    text: str = field(repr=False)
    """What is stored with a hold: JSON, credits as exact decimals by kind; factors; conditions."""
    sides: Sides = field(compare=False, repr=False)
    input_peak: Peak = field(compare=False, repr=False)
    output_peak: Peak = field(compare=False, repr=False)
    factors: Factors | None = None
    """None: all are 1."""
    extras: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """The kinds in `nano` that cost something and are neither tokens nor the request: fees, and
    counts such as seconds."""
    is_for_counts: bool = field(default=False, compare=False, repr=False)
    """They are for seconds, characters or images, and none for tokens or requests."""
