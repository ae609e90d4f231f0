"""Mistakes in a rate card: how they are raised while it is read, and on which line they stand."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    It parses ever more lines from the top until the document has the value; so it need not know the
    ways in which TOML can be written.
    """
    lines = text.splitlines(keepends=True)
    begins = 1
    for number in range(1, len(lines) + 1):
        try:
            document: object = tomllib.loads("".join(lines[:number]), parse_float=Decimal)
        except tomllib.TOMLDecodeError:
            continue
        if place and _has(document, place):
            return begins
        begins = number + 1
    return 1


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
