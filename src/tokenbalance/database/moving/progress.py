"""What a long migration tells while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Report: TypeAlias = "Callable[[str], None]"
    """Gets one line for people."""

EVERY_S: Final = 3.0


class Progress:
    """Says what is being moved, and how fast: one line every few seconds, none for small books."""

    def __init__(self, report: Report) -> None:
        self.say: Report = report
        self._what = ""
        self._began_at = self._said_at = time.monotonic()
        self._rows = 0

    def begin(self, what: str) -> None:
        """Begin something that has rows to count."""
        self._what = what
        self._began_at = time.monotonic()
        self._rows = 0

    def add(self, rows: int) -> None:
        """Count rows that were moved, and say so if it is time."""
        self._rows += rows
        speed = self._rows / max(time.monotonic() - self._began_at, 0.001)
        self.tell(f"{self._what}: {self._rows:,} rows, {speed:,.0f} rows/s")

    def tell(self, line: str) -> None:
        """Say something else, if it is time."""
        now = time.monotonic()
        if now - self._said_at >= EVERY_S:
            self._said_at = now
            self.say(line)


def say_nothing(_line: str) -> None:
    """Be the report of a migration that nobody watches."""
