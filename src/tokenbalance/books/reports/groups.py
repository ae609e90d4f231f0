"""What usage can be grouped by, and the columns that rows are then told apart and sorted by."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Group(StrEnum):
    """What usage can be grouped by, in the order in which rows are sorted."""

    DAY = "day"
    """In UTC, by when a request was charged."""
    USER = "user"
    KEY = "key"
    MODEL = "model"


def columns_of(groups: Iterable[Group]) -> tuple[str, ...]:
    """Name the columns, in the order in which rows are sorted.

    A key belongs to one account, so keys are sorted by it: the sums lie in its order.
    """
    names: dict[Group, tuple[str, ...]] = {
        Group.DAY: ("day",),
        Group.USER: ("account_id",),
        Group.KEY: ("account_id", "key_id"),
        Group.MODEL: ("model",),
    }
    wanted = frozenset(groups)
    return tuple(dict.fromkeys(name for group in Group if group in wanted for name in names[group]))
