"""The kinds of quantities that a request is charged for: one row each, and what follows from them.

A kind that the upstream begins to bill is one more row here, and one in `openai.metering`, which
knows where a report has it. Rates, charges, bills and ceilings are computed from the rows, and must
never name a kind other than the whole of a side and the request.

    input     = audio + image + cached image + cached + cache writes + plain
    output    = audio + image + reasoning + plain

in this order, each limited to what is left. The tokens of a second bill (those of the image model
behind a tool, say) are sides of their own, with the rates of that other model.

Besides the rows there are fees, one kind for each tool that the upstream runs (`call:web_search`),
and the service tier of a response (`tier:priority`), which is a quantity so that journals, books
and corrections carry it as they carry the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Sides

INPUT: Final = "input"
OUTPUT: Final = "output"
REQUEST: Final = "request"
"""Charged once, for a request that used anything."""

CALL: Final = "call:"
"""Begins the kind of a fee for each call of a tool."""
SESSION: Final = "session:"
"""Begins the kind of a fee for each session (a container) of a tool."""
TIER: Final = "tier:"
"""Begins the kind that says at which service tier a request was served; nothing is due for it."""

_BY_SESSION: Final = frozenset({"code_interpreter", "shell"})
FREE_TOOLS: Final = frozenset(
    {
        "apply_patch",
        "computer",
        "computer_use",
        "computer_use_preview",
        "custom",
        "function",
        "image_generation",
        "local_shell",
        "mcp",
        "namespace",
        "programmatic_tool_calling",
        "tool_search",
    }
)
"""Tools without a fee: what they use is tokens, or they are run by the client."""


NEVER_FREE: Final = frozenset({"content_provenance_check", "voice"})
"""Fees of requests that use nothing else: they are refused where a card has no such fee."""


def fee_kind(tool: str) -> str:
    """Name the kind of a tool's fee: for a session, or for a call."""
    return f"{SESSION if tool in _BY_SESSION else CALL}{tool}"


def is_fee(kind: str) -> bool:
    """Whether a kind is the fee of a tool."""
    return kind.startswith((CALL, SESSION))


class Source(NamedTuple):
    """Whose rate a kind of a second bill has."""

    model: Literal["image_model", "svg_model"]
    """The member of the conditions that names the other model."""
    kind: str
    """That model's kind with this rate."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One kind."""

    name: str
    """As in cards, journals and books; never changed, since they keep it."""
    label: str
    """As in bills for people."""
    side: str | None
    """The whole that it is part of, or is itself; None: not tokens."""
    parent: str | None = None
    """The kind whose rate applies where a card has none for this one, in an earlier row; None: it
    is free then."""
    is_media: bool = False
    """Only requests that may have other than text use it."""
    version: int = 1
    """The first version of cards that may have a rate for it."""
    is_lasting: bool = False
    """Only requests that ask for a longer cache lifetime than the usual one use it."""
    source: Source | None = None
    """Where its rate comes from; None: from the row of the request's own model."""


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
        """The kinds that are tokens."""
        return tuple(unit.name for unit in self.rows if unit.side is not None)

    @cached_property
    def own_tokens(self) -> tuple[str, ...]:
        """The tokens of the request's own model: those of no second bill."""
        return tuple(unit.name for unit in self.rows if unit.side in {INPUT, OUTPUT})

    @cached_property
    def counts(self) -> tuple[str, ...]:
        """The kinds that are neither tokens nor the request: seconds, images and the like."""
        return tuple(unit.name for unit in self.rows if unit.side is None and unit.name != REQUEST)

    @cached_property
    def copied(self) -> tuple[tuple[str, Source], ...]:
        """The kinds of second bills, each with whose rate it has."""
        return tuple((unit.name, unit.source) for unit in self.rows if unit.source is not None)

    @cached_property
    def sides(self) -> Sides:
        """All sides, input and output first, each with its parts in the order of taking them."""
        return tuple((side, tuple(self._parts(side))) for side in self._wholes())

    @cached_property
    def ancestry(self) -> Mapping[str, tuple[str, ...]]:
        """The kinds whose rates apply to a kind, its own first; a card may have none of them."""
        ancestry: dict[str, tuple[str, ...]] = {}
        for unit in self.rows:
            ancestry[unit.name] = (unit.name, *ancestry.get(unit.parent or "", ()))
        return ancestry

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """The names for people, by kind."""
        return {unit.name: unit.label for unit in self.rows}

    def priced_in(self, version: int) -> tuple[str, ...]:
        """The kinds that a card of this version may have rates for."""
        return tuple(
            unit.name for unit in self.rows if unit.version <= version and unit.source is None
        )

    def of(self, side: str, *, media: bool, lasting: bool = True) -> tuple[str, ...]:
        """The kinds that a side may have, itself included.

        Args:
            side: which side.
            media: with audio and images.
            lasting: with what is kept longer than usual.

        """
        return tuple(
            unit.name
            for unit in self.rows
            if unit.side == side
            and (media or not unit.is_media)
            and (lasting or not unit.is_lasting)
        )

    def label(self, kind: str) -> str:
        """Name a kind for people, whether it has a row or is a fee or a tier."""
        if kind in self.labels:
            return self.labels[kind]
        for beginning, what in ((CALL, "calls"), (SESSION, "sessions")):
            if kind.startswith(beginning):
                tool = kind.removeprefix(beginning).replace("_", " ")
                return f"{tool.capitalize()} {what}"
        if kind.startswith(TIER):
            return f"Requests at tier {kind.removeprefix(TIER)}"
        return kind

    def _wholes(self) -> list[str]:
        wholes = [unit.name for unit in self.rows if unit.name == unit.side]
        # Python keeps the order of those that are equal.
        return sorted(wholes, key=lambda side: side not in {INPUT, OUTPUT})

    def _parts(self, side: str) -> list[str]:
        parts = [unit for unit in self.rows if unit.side == side and unit.name != side]
        # Audio and images first: an upstream may count the same tokens as cached too.
        return [unit.name for unit in sorted(parts, key=lambda unit: not unit.is_media)]


def _of_image_tool(
    name: str, label: str, kind: str, parent: str | None = None, *, is_media: bool = False
) -> Unit:
    side = "image_tool_output" if "output" in name else "image_tool_input"
    source = Source("image_model", kind)
    return Unit(name, f"Image tool: {label}", side, parent, is_media, source=source)


def _of_svg(name: str, label: str, side: str, kind: str, parent: str | None = None) -> Unit:
    return Unit(name, f"SVG model: {label}", side, parent, source=Source("svg_model", kind))


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
        Unit("cache_write", "Cache write tokens", INPUT, INPUT, version=2),
        Unit(
            "cache_write_12h",
            "Cache write tokens, 12 hours",
            INPUT,
            "cache_write",
            version=2,
            is_lasting=True,
        ),
        Unit(
            "cached_image_input",
            "Cached image input tokens",
            INPUT,
            "image_input",
            is_media=True,
            version=2,
        ),
        _of_image_tool("image_tool_input", "input tokens", INPUT),
        _of_image_tool(
            "image_tool_cached_input", "cached input tokens", "cached_input", "image_tool_input"
        ),
        _of_image_tool(
            "image_tool_image_input",
            "image input tokens",
            "image_input",
            "image_tool_input",
            is_media=True,
        ),
        _of_image_tool(
            "image_tool_cached_image_input",
            "cached image input tokens",
            "cached_image_input",
            "image_tool_image_input",
            is_media=True,
        ),
        _of_image_tool("image_tool_output", "output tokens", OUTPUT),
        _of_image_tool(
            "image_tool_image_output",
            "image output tokens",
            "image_output",
            "image_tool_output",
            is_media=True,
        ),
        _of_svg("svg_input", "input tokens", "svg_input", INPUT),
        _of_svg("svg_output", "output tokens", "svg_output", OUTPUT),
        _of_svg("svg_reasoning", "reasoning tokens", "svg_output", "reasoning", "svg_output"),
        Unit("second_audio", "Seconds of audio", side=None, version=2),
        Unit("second_video", "Seconds of video", side=None, version=2),
        Unit("character", "Characters", side=None, version=2),
        Unit("image", "Images", side=None, version=2),
        Unit("gb_day", "Gigabyte days of storage", side=None, version=2),
        Unit(REQUEST, "Request", side=None),
    )
)
"""The kinds of today."""
