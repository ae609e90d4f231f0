"""The security log: one line for each sign-in, refusal, and change of users, keys and balances.

Lines have fields rather than sentences, so that programs can read them; the formatter escapes what
could forge a line. Failures and refusals, which anybody can cause, are limited: a worker writes
`LINES_MAX` a minute of each event, then one line with the number that was left out. What was
changed is never limited.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.events.names import EventName

NAME: Final = "tokenbalance.security"
LINES_MAX: Final = 60
"""Failures and refusals of one event that a worker writes in each window."""
WINDOW_S: Final = 60.0

Outcome: TypeAlias = Literal["ok", "failed", "refused"]

logger = logging.getLogger(NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line. A field without a value is left out."""

    event: EventName
    outcome: Outcome
    reason: str | None = None
    """A word for why it failed or was refused."""
    user: int | None = None
    """The id of the user it is about."""
    actor: str | None = None
    """Who did it: the name of an `Actor`."""
    address: str | None = None
    key_id: int | None = None
    """The key, or the sign-in token, it is about."""
    actor_key_id: int | None = None
    """The API key with which it was done."""
    request_id: str | None = None
    path: str | None = None
    left_out: int | None = None
    """Lines of this event that the last minute has not got."""


def say(line: Line) -> None:
    """Write a line."""
    names = (field.name for field in fields(line))
    said = {name: cast("str | int | None", getattr(line, name)) for name in names}
    logger.info("security", extra={name: value for name, value in said.items() if value})


class Refusals:
    """How many lines each event has had in its current window, in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[EventName, _Window] = {}

    def admit(self, event: EventName) -> bool:
        """Count a failure or refusal; returns whether it gets a line."""
        now = self._clock()
        window = self._windows.get(event)
        if window is None or now >= window.ends_at:
            self.sum_up(event)
            window = self._windows[event] = _Window(now + WINDOW_S)
        window.count += 1
        if window.count == LINES_MAX + 1:
            # In case that nothing follows; where no loop runs, what follows sums up.
            with suppress(RuntimeError):
                _ = asyncio.get_running_loop().call_later(
                    window.ends_at - now, self._end, event, window
                )
        return window.count <= LINES_MAX

    def sum_up(self, event: EventName) -> None:
        """End a window with a line about those that got none."""
        window = self._windows.pop(event, None)
        if window is not None and window.count > LINES_MAX:
            say(Line(event=event, outcome="refused", left_out=window.count - LINES_MAX))

    def _end(self, event: EventName, window: _Window) -> None:
        if self._windows.get(event) is window:
            self.sum_up(event)


@dataclass(slots=True)
class _Window:
    ends_at: float
    count: int = 0


refusals: Final = Refusals()
"""Of this process, as the log is."""


def say_refusal(line: Line) -> None:
    """Write a line about a failure or a refusal, unless there were too many."""
    if refusals.admit(line.event):
        say(line)
