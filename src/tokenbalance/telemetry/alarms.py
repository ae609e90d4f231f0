"""Faults that only the operator can fix, as errors in the log: one line a minute of each kind.

Every request may meet such a fault, and a line for each would bury all other lines.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

EVERY_S: Final = 60.0


class Alarms:
    """The alarms of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.on_sound: Callable[[str], None] | None = None
        """Called with the kind of each alarm that is logged."""
        self._next_at: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def sound(self, kind: str, message: str) -> None:
        """Log an error, unless there was one of this kind within the last minute.

        Args:
            kind: what it is about.
            message: one line, without a secret.

        """
        now = self._clock()
        if now < self._next_at.get(kind, now):
            self._silent[kind] = self._silent.get(kind, 0) + 1
            return
        self._next_at[kind] = now + EVERY_S
        silent = self._silent.pop(kind, 0)
        if self.on_sound is not None:
            self.on_sound(kind)
        logger.error("%s%s", message, f" (and {silent} times before)" if silent else "")
