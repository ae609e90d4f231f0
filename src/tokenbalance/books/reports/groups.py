"""What usage can be grouped by, and the columns that identify and sort the groups."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

USER: Final = "user_id"
"""The column of who answers for a key: no column of the sums, but of the key."""
NOBODY: Final = 0
"""In this column: it is a service key of a team, or of a personal account, which has its user."""


class Group(StrEnum):
    """What usage can be grouped by, in the order in which rows are sorted."""

    DAY = "day"
    """In UTC, when a request was charged."""
    USER = "user"
    """Who answers for the key, in one account: its user, or of a team a member or nobody."""
    KEY = "key"
    MODEL = "model"


def columns_of(groups: Iterable[Group]) -> tuple[str, ...]:
    """Name the columns, in the order in which rows are sorted.

    Keys are sorted by their account first, which is the order of the stored sums; who answers for
    a key is known from it.
    """
    wanted = frozenset(groups)
    names: dict[Group, tuple[str, ...]] = {
        Group.DAY: ("day",),
        Group.USER: ("account_id",) if Group.KEY in wanted else ("account_id", USER),
        Group.KEY: ("account_id", "key_id"),
        Group.MODEL: ("model",),
    }
    return tuple(dict.fromkeys(name for group in Group if group in wanted for name in names[group]))
