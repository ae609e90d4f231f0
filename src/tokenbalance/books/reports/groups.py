"""What usage can be grouped by, and the columns that identify and sort the groups."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Group(StrEnum):
    """What usage can be grouped by, in the order in which rows are sorted."""

    DAY = "day"
    """In UTC, when a request was charged."""
    USER = "user"
    KEY = "key"
    MODEL = "model"


def columns_of(groups: Iterable[Group]) -> tuple[str, ...]:
    """Name the columns, in the order in which rows are sorted.

    Keys are sorted by their account first, which is the order of the stored sums.
    """
    names: dict[Group, tuple[str, ...]] = {
        Group.DAY: ("day",),
        Group.USER: ("account_id",),
        Group.KEY: ("account_id", "key_id"),
        Group.MODEL: ("model",),
    }
    wanted = frozenset(groups)
    return tuple(dict.fromkeys(name for group in Group if group in wanted for name in names[group]))
