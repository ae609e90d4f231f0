"""What is left of the tightest limits, under the names that clients of OpenAI read.

    x-ratelimit-limit-requests    x-ratelimit-remaining-requests    x-ratelimit-reset-requests
    x-ratelimit-limit-tokens      x-ratelimit-remaining-tokens      x-ratelimit-reset-tokens

Pure. The figures are those right after the hold took its part, or at the moment of a refusal.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Room
from tokenbalance.proxy.limits.durations import shown_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model import LimitState
    from tokenbalance.model.limits import Unit

_TOLD: Final[tuple[Unit, ...]] = ("requests", "tokens")
_NAMES: Final = {
    unit: tuple(f"x-ratelimit-{name}-{unit}".encode() for name in ("limit", "remaining", "reset"))
    for unit in _TOLD
}
_MICROSECOND: Final = timedelta(microseconds=1)


def rate_headers(rooms: Iterable[Room]) -> list[tuple[bytes, bytes]]:
    """Return the headers for what limits leave; none for a unit without a limit."""
    headers: list[tuple[bytes, bytes]] = []
    for unit, amount, remaining, reset_us in rooms:
        limit, left, reset = _NAMES[unit]
        headers += (
            (limit, b"%d" % amount),
            (left, b"%d" % remaining),
            (reset, shown_duration(-(-reset_us // 1000)).encode()),
        )
    return headers


def rooms_of(states: Iterable[LimitState]) -> tuple[Room, ...]:
    """Return what the tightest limit of each unit leaves at the moment of the states."""
    tightest: dict[Unit, LimitState] = {}
    for state in states:
        known = tightest.get(state.unit)
        if state.unit in _TOLD and (known is None or state.remaining < known.remaining):
            tightest[state.unit] = state
    return tuple(_room(tightest[unit]) for unit in _TOLD if unit in tightest)


def _room(state: LimitState) -> Room:
    left = timedelta() if state.resets_at is None else state.resets_at - state.at
    return Room(state.unit, state.amount, state.remaining, max(left // _MICROSECOND, 0))
