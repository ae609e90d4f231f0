"""A row of `limits` as it is shown at one moment: the one rule, for requests and for pages.

Pure. A window that has ended is shown as the empty one that follows it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo

from tokenbalance.books.limits.windows import window_at
from tokenbalance.model.limits import COUNTED, MINUTE, WITHOUT_WINDOWS, LimitState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from tokenbalance.model.limits import Unit

_MINUTE: Final = timedelta(minutes=1)
_ORDER: Final = {name: number for number, name in enumerate(COUNTED)}


class Row(Protocol):
    """What a row has, whoever reads it."""

    @property
    def subject(self) -> str:
        """Whom it limits."""
        ...

    @property
    def name(self) -> str:
        """Of the limit, or of the budget."""
        ...

    @property
    def unit(self) -> Unit:
        """What it counts."""
        ...

    @property
    def period(self) -> str:
        """For how long it counts."""
        ...

    @property
    def amount(self) -> int:
        """The limit."""
        ...

    @property
    def used(self) -> int:
        """Of its window."""
        ...

    @property
    def reserved(self) -> int:
        """By requests in progress."""
        ...

    @property
    def taken_until(self) -> datetime:
        """Of a rate: when all of it is available."""
        ...

    @property
    def window_end(self) -> datetime:
        """Of the window that was entered last."""
        ...

    @property
    def anchor(self) -> datetime | None:
        """Where its periods begin, if not where it was made."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        ...


def is_over(row: Row, at: datetime) -> bool:
    """Whether the window of a row has ended, so that nothing can be taken from it."""
    return row.period not in WITHOUT_WINDOWS and row.window_end <= at


def state_of(row: Row, time_zone: str, at: datetime) -> LimitState:
    """Show a row.

    Args:
        row: the row.
        time_zone: of its account.
        at: the moment, by the database's clock.

    """
    used, reserved, resets_at = row.used, row.reserved, None
    if row.period == MINUTE:
        used = 0
        # An infinite time comes without a zone: nothing has ever been taken.
        if row.taken_until.tzinfo is not None and row.taken_until > at:
            resets_at = row.taken_until
            used = -((at - resets_at) * row.amount // _MINUTE)
    elif is_over(row, at):
        used, reserved = 0, 0
        zone = ZoneInfo(time_zone)
        resets_at = window_at(at, row.period, zone, row.anchor or row.created_at).end
    elif row.period not in WITHOUT_WINDOWS:
        resets_at = row.window_end
    return LimitState(
        row.subject, row.name, row.unit, row.period, row.amount, used, reserved, resets_at, at
    )


def in_order(states: Iterable[LimitState], subjects: Sequence[str]) -> list[LimitState]:
    """Order states by their subjects, then as in `COUNTED`; budgets come last, by name."""
    places = {subject: number for number, subject in enumerate(subjects)}
    return sorted(
        states,
        key=lambda state: (
            places[state.subject],
            _ORDER.get(state.name, len(_ORDER)),
            state.name,
        ),
    )
