"""Finds rows of a rate card that can never match, since an earlier one matches all that they do.

Comparing every row with all before it would take long for a card with thousands of rows. So earlier
patterns are looked up: by their text, or by what they begin with before the first wildcard. Only
those that begin in the same way are tried.
"""

from __future__ import annotations

import datetime as dt
import re
from fnmatch import translate
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.books.pricing.rate_card.row import Row

_WILDCARD: Final = re.compile(r"\[!?\]?[^\]]*\]|[*?]")
_SPECIAL: Final = re.compile(r"[*?\[]")
_PLACEHOLDER: Final = "\0"
"""It stands for a wildcard; only a star, which matches all that the wildcard may, matches it."""


class Cover(NamedTuple):
    """A row that matches everything that a pattern of a later row does."""

    history: int
    """The place of its history among those of the card."""
    row: int
    """Its place in the card."""
    pattern: str
    """That of the later row."""


class EarlierRows:
    """The rows that were read so far."""

    def __init__(self) -> None:
        self._by_text: dict[str, _Pattern] = {}
        self._by_start: dict[str, list[_Pattern]] = {}
        """Patterns with a wildcard, by what they begin with."""
        self._lengths: set[int] = set()
        """Those of the beginnings."""

    def add(self, history: int, index: int, row: Row) -> None:
        """Add a row.

        Args:
            history: the place of its history among those of the card.
            index: the place of the row in the card.
            row: itself.

        """
        for text in row.patterns:
            pattern = self._by_text.get(text)
            if pattern is None:
                pattern = self._by_text[text] = _Pattern(text)
                if not pattern.is_literal:
                    self._by_start.setdefault(pattern.start, []).append(pattern)
                    self._lengths.add(len(pattern.start))
            pattern.add(history, index, row)

    def cover_of(self, history: int, row: Row) -> Cover | None:
        """Find the first row of an earlier history that takes everything from a pattern, always.

        Args:
            history: the place of the row's own history.
            row: the later row.

        """
        begins = row.begins or dt.date.min
        found: list[Cover] = []
        for text in row.patterns:
            places = [
                place
                for pattern in self._covering(text)
                if (place := pattern.first(history, begins)) is not None
            ]
            if places:
                found.append(Cover(*min(places), text))
        return min(found, key=lambda cover: cover[:2], default=None)

    def _covering(self, text: str) -> Iterator[_Pattern]:
        """Find the patterns that match everything that this one does, if that is obvious."""
        literal, wildcards = _WILDCARD.subn(_PLACEHOLDER, text)
        same = self._by_text.get(text)
        if same is not None:
            yield same
        equal = self._by_text.get(literal)
        if equal is not None and equal.is_literal and equal is not same:
            yield equal
        for length in self._lengths:
            if length > len(literal):
                continue
            for pattern in self._by_start.get(literal[:length], ()):
                if pattern is not same and pattern.matches(literal, has_wildcards=wildcards > 0):
                    yield pattern


class _Pattern:
    """A pattern, and the rows that have it."""

    def __init__(self, text: str) -> None:
        special = _SPECIAL.search(text)
        self.is_literal = special is None
        self.start = text if special is None else text[: special.start()]
        """What all that it matches begins with."""
        is_prefix = not self.is_literal and not text[len(self.start) :].strip("*")
        self._has_only_stars = _WILDCARD.search(text.replace("*", "")) is None
        self._expression = None if is_prefix else re.compile(translate(text))
        self._rows: dict[int, list[tuple[dt.date, int]]] = {}
        """First days and places of the rows, by history."""
        self._begins: dict[int, dt.date] = {}
        """The first day of each history."""

    def add(self, history: int, index: int, row: Row) -> None:
        begins = row.begins or dt.date.min
        self._rows.setdefault(history, []).append((begins, index))
        self._begins[history] = min(self._begins.get(history, begins), begins)

    def matches(self, literal: str, *, has_wildcards: bool) -> bool:
        """Whether it matches a text that begins as it does, where placeholders are wildcards."""
        if has_wildcards and not self._has_only_stars:
            return False
        return self._expression is None or self._expression.match(literal) is not None

    def first(self, before: int, begins: dt.date) -> tuple[int, int] | None:
        """Find the first row with it in a history before this one that has begun by a day."""
        histories = (
            history for history, day in self._begins.items() if history < before and day <= begins
        )
        history = min(histories, default=None)
        if history is None:
            return None
        return history, min(index for day, index in self._rows[history] if day <= begins)
