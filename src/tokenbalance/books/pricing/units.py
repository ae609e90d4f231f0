"""The kinds of quantities that a request is charged for: one row each, and what follows from them.

A kind that the upstream begins to bill is one more row here, and one in `openai.metering.usage`,
which knows where a report has it. Rates, charges, bills and ceilings are computed from the rows,
and must never name a kind other than the whole of a side and the request.

    input     = audio + image + cached + plain     in this order, each limited to what is left
    output    = audio + image + reasoning + plain  likewise
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

INPUT: Final = "input"
OUTPUT: Final = "output"
REQUEST: Final = "request"
"""Charged once, for a request that used anything."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind."""

    name: str
    """As in cards, journals and books; never changed, since they keep it."""
    label: str
    """As in bills for people."""
    side: str | None
    """`INPUT` or `OUTPUT`, which it is part of, or is itself; None: the request."""
    parent: str | None = None
    """The kind whose rate applies where a card has none for this one, in an earlier row; None: it
    is free then."""
    is_media: bool = False
    """Only requests that may have other than text use it."""


@dataclass(frozen=True)
class Units:
    """A table of kinds, in the order in which they are shown."""

    rows: tuple[Unit, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All kinds."""
        return tuple(unit.name for unit in self.rows)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The kinds that are tokens, without the request."""
        return tuple(unit.name for unit in self.rows if unit.side is not None)

    @cached_property
    def sides(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Both sides, each with its parts in the order in which they are taken from it."""
        return tuple((side, tuple(self._parts(side))) for side in (INPUT, OUTPUT))

    @cached_property
    def ancestry(self) -> Mapping[str, tuple[str, ...]]:
        """The kinds whose rates apply to a kind, its own first; a card may have none of them."""
        ancestry: dict[str, tuple[str, ...]] = {}
        for unit in self.rows:
            ancestry[unit.name] = (unit.name, *ancestry.get(unit.parent or "", ()))
        return ancestry

    def of(self, side: str, *, media: bool) -> tuple[str, ...]:
        """The kinds that a side may have, itself included, with or without audio and images."""
        return tuple(
            unit.name for unit in self.rows if unit.side == side and (media or not unit.is_media)
        )

    def _parts(self, side: str) -> list[str]:
        parts = [unit for unit in self.rows if unit.side == side and unit.name != side]
        # Audio and images first: an upstream may count the same tokens as cached too.
        return [unit.name for unit in sorted(parts, key=lambda unit: not unit.is_media)]


UNITS: Final = Units(
    (
        Unit(INPUT, "Input tokens", INPUT),
        Unit("cached_input", "Cached input tokens", INPUT, INPUT),
        Unit(OUTPUT, "Output tokens", OUTPUT),
        Unit("reasoning", "Reasoning tokens", OUTPUT, OUTPUT),
        Unit("audio_input", "Audio input tokens", INPUT, INPUT, is_media=True),
        Unit("audio_output", "Audio output tokens", OUTPUT, OUTPUT, is_media=True),
        Unit("image_input", "Image input tokens", INPUT, INPUT, is_media=True),
        Unit("image_output", "Image output tokens", OUTPUT, OUTPUT, is_media=True),
        Unit(REQUEST, "Request", side=None),
    )
)
"""The kinds of today."""
