"""Mistakes in a rate card: how they are raised while it is read, and on which line they stand."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Place: TypeAlias = "tuple[str | int, ...]"
"""The keys and indexes that lead to a value in the document."""

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class RateCardError(ValueError):
    """The card cannot be used; the message is one line, with the line number of the mistake."""


class Mistake(Exception):
    """Something in the document is wrong."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason

    def error(self, text: str) -> RateCardError:
        """Build the error that names the line, given the text of the card."""
        line = _line_of(text, self.place)
        return RateCardError(f"line {line}: {_shown(self.place)}{self.reason}")


def parse_toml(text: str) -> Mapping[str, object]:
    """Parse a card; numbers with a point become exact decimals.

    Raises:
        RateCardError: it is not TOML.

    """
    try:
        return cast("Mapping[str, object]", tomllib.loads(text, parse_float=Decimal))
    except ValueError as error:  # that of tomllib, or of a number with thousands of digits
        _raise_syntax(text, str(error))
    except RecursionError:
        _raise_syntax(text, "It is nested too deeply")


def _raise_syntax(text: str, message: str) -> NoReturn:
    place = _PLACE.search(message)
    at = None if place is None else cast("str | None", place[1])
    line = max(len(text.splitlines()), 1) if at is None else int(at)
    raise RateCardError(f"line {line}: {_PLACE.sub('', message)}") from None


def _shown(place: Place) -> str:
    if not place:
        return ""
    names = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    shown = "".join(names).removeprefix(".")
    return f"{shown if shown.isprintable() else ascii(shown)}: "


def _line_of(text: str, place: Place) -> int:
    """Find the line on which the statement starts that sets the value at `place`.

    It parses the text up to a line, so it need not know the ways in which TOML can be written; what
    ends within a statement does not parse. A longer text has whatever a shorter one has, so the
    first that has the value is found by halving.
    """
    lines = text.splitlines(keepends=True)
    if not place:
        return 1
    low, high, ends = 1, len(lines), 1
    while low <= high:
        middle = (low + high) // 2
        whole, document = _next_whole(lines, middle, high)
        if document is not None and not _has(document, place):
            low = whole + 1
            continue
        if document is not None:
            ends = whole
        high = middle - 1
    begins = ends
    while begins > 1 and _parsed(lines, begins - 1) is None:
        begins -= 1
    return begins


def _next_whole(lines: Sequence[str], number: int, last: int) -> tuple[int, object]:
    """Parse the first lines, with as many more as a statement needs that they would cut.

    Args:
        lines: the text.
        number: of lines, at least.
        last: of lines, at most.

    Returns:
        The number of lines and the document; None: all of these texts end within a statement.

    """
    for more in range(number, last + 1):
        document = _parsed(lines, more)
        if document is not None:
            return more, document
    return last, None


def _parsed(lines: Sequence[str], number: int) -> object:
    """Parse the first lines; None if they end within a statement."""
    try:
        return tomllib.loads("".join(lines[:number]), parse_float=Decimal)
    except tomllib.TOMLDecodeError:
        return None


def _has(document: object, place: Place) -> bool:
    for part in place:
        if isinstance(part, int):
            if not isinstance(document, list) or part >= len(cast("list[object]", document)):
                return False
            document = cast("list[object]", document)[part]
        else:
            if not isinstance(document, dict) or part not in document:
                return False
            document = cast("dict[str, object]", document)[part]
    return True
