"""Budgets as everybody outside `people` sees them, and which are valid. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.model.limits import CALENDAR, KEY, MEMBER, PROJECT
from tokenbalance.people.limits import LIMIT_MAX, InvalidLimit

if TYPE_CHECKING:
    from datetime import datetime

    from tokenbalance.model.limits import Unit

BUDGET_UNITS: Final = ("credits", "tokens")
NAME_CHARS_MAX: Final = 100
DAYS_MAX: Final = 3660
_DAYS: Final = re.compile(r"([1-9][0-9]{0,3}) days?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap on what a key, a member, a project or an account uses in each period."""

    id: int
    account_id: int
    key_id: int | None
    """Of this key; where all three are None, of all keys of the account together."""
    member_id: int | None
    """Of all keys together that this user has of the team."""
    project_id: int | None
    """Of all keys of this project together."""
    name: str
    unit: Unit
    amount: int
    every: str
    """One of `CALENDAR`, or a number of days such as `14 days`."""
    anchor: datetime | None
    """When a period of days has begun; None for those of the calendar."""
    created_at: datetime
    is_bound: bool
    """Only a superuser changes it."""


def clean_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidLimit: it is too long, or has control characters.

    """
    name = name.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        msg = f"must have 1 to {NAME_CHARS_MAX} characters and no control characters"
        raise InvalidLimit("name", msg)
    return name


def clean_amount(amount: int) -> int:
    """Return the amount.

    Raises:
        InvalidLimit: it is not positive, or too large.

    """
    if not 1 <= amount <= LIMIT_MAX:
        raise InvalidLimit("amount", f"must be an integer from 1 to {LIMIT_MAX:,}")
    return amount


def clean_unit(unit: str) -> str:
    """Return the unit.

    Raises:
        InvalidLimit: it is unknown.

    """
    if unit not in BUDGET_UNITS:
        raise InvalidLimit("unit", f"must be one of {', '.join(BUDGET_UNITS)}")
    return unit


def clean_period(every: str) -> str:
    """Return a period in its usual form.

    Raises:
        InvalidLimit: it is none.

    """
    every = " ".join(every.split())
    found = _DAYS.fullmatch(every)
    if every in CALENDAR:
        return every
    if found is None or int(found[1]) > DAYS_MAX:
        msg = f"must be one of {', '.join(CALENDAR)}, or 1 to {DAYS_MAX:,} days, such as '14 days'"
        raise InvalidLimit("every", msg)
    return f"{found[1]} days"


def key_of(subject: str) -> int | None:
    """Return the key that is the subject of a limit; None: it is another."""
    return _id_after(KEY, subject)


def member_of(subject: str) -> int | None:
    """Return the user who is the subject of a limit, as a member; None: it is another."""
    return _id_after(MEMBER, subject)


def project_of(subject: str) -> int | None:
    """Return the project that is the subject of a limit; None: it is another."""
    return _id_after(PROJECT, subject)


def _id_after(beginning: str, subject: str) -> int | None:
    return int(subject.removeprefix(beginning)) if subject.startswith(beginning) else None
