"""What is wrong with a table of users, by line and field. A message never repeats a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.model.values import value

if TYPE_CHECKING:
    from collections.abc import Sequence


@value
class Mistake:
    """One thing to correct."""

    line: int
    """Of the text, the first one is 1."""
    field: str
    """The column; empty if it is about the line as a whole."""
    reason: str

    @property
    def message(self) -> str:
        """The mistake as one line for people."""
        where = f"line {self.line}, {self.field}" if self.field else f"line {self.line}"
        return f"{where}: {self.reason}"


class ImportRefused(Exception):
    """The table has mistakes, and nothing was changed; the message names the first."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        more = len(mistakes) - 1
        others = f", and {more:,} more" if more else ""
        super().__init__(f"{mistakes[0].message}{others}")
        self.mistakes = tuple(mistakes)
