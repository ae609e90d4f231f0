"""Seconds, characters and images: charged as what they are, or as the tokens that they stand for.

A usage in one of these counts has tokens beside it: reported ones, or stated equivalents. Which of
both are charged depends on the rates alone:

    without a card                  the tokens
    a rate for the count            the count; its equivalent in tokens is taken out
    a rate for tokens only          the tokens
    reported tokens, and the row    the count that is known of the request
    has a rate for the count only

Equivalents: a second of audio is TOKENS_PER_SECOND input tokens, which is what OpenAI's models for
transcriptions count; speech is the tokens of its text; an image is what the largest one of its size
and quality uses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.units import INPUT, OUTPUT, REQUEST, UNITS
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Quantities, Rates

COUNTS: Final = ("second_audio", "character", "image")
"""Kinds that stand for tokens of the request's own model."""
_CHARACTER: Final = "character"
_OWN: Final = frozenset(UNITS.own_tokens)
_SIDES: Final = frozenset(side for side, _ in UNITS.sides)


def as_charged(usage: Usage, rates: Rates | None, known: Quantities = ()) -> Usage:
    """Leave of a usage what these rates are for.

    Args:
        usage: reported, or counted.
        rates: of its request; None: a token is a credit.
        known: counts that the request itself shows, for a row that has no rate for tokens.

    """
    counts = [kind for kind in COUNTS if kind in usage.quantities]
    if rates is None:
        # Nobody reports how many tokens of audio a text has become.
        return _without(usage, OUTPUT) if _CHARACTER in counts else usage
    if any(rates.nano[kind] for kind in counts):
        return _without(usage, INPUT, OUTPUT)
    if counts or not usage.quantities or rates.input_peak.media or rates.output_peak.media:
        return usage
    more = {kind: number for kind, number in known if kind in COUNTS and rates.nano[kind]}
    return replace(usage, quantities={**usage.quantities, **more}) if more else usage


def is_for_counts(nano: Mapping[str, int]) -> bool:
    """Whether rates are for seconds, characters or images, and none for tokens or requests."""
    return any(nano.get(kind) for kind in COUNTS) and not any(
        nano.get(kind) for kind in (*UNITS.own_tokens, REQUEST)
    )


def known_before(more: Quantities, rates: Rates | None) -> Usage | None:
    """The usage of a request that its counts and fees alone decide; None if tokens do.

    It is known before the response, so that it can outlive a process that dies meanwhile.
    """
    if rates is None:
        return None
    counts = {kind: number for kind, number in more if rates.nano.get(kind) and kind not in _SIDES}
    return Usage(counts, estimated=True) if counts else None


def _without(usage: Usage, *sides: str) -> Usage:
    """Take sides of a usage out, with all that they divide into."""
    taken = sum(usage.of(side) for side in sides)
    parts = {part for side, names in UNITS.sides if side in sides for part in (side, *names)}
    return replace(
        usage,
        quantities=_left(usage.quantities, parts & _OWN),
        total=max(usage.total - taken, 0),
    )


def _left(quantities: Mapping[str, int], taken: frozenset[str] | set[str]) -> dict[str, int]:
    return {kind: number for kind, number in quantities.items() if kind not in taken}
