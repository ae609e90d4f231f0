"""Fields of a key as they are stored: its name, its end, its status for a low balance. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from tokenbalance.database.tables import INSUFFICIENT_STATUSES
from tokenbalance.people.key_errors import InvalidExpiry, InvalidInsufficientStatus, InvalidKeyName

KEY_NAME_CHARS_MAX: Final = 200
STATUS_CHOICES: Final = INSUFFICIENT_STATUSES
"""For a request that the balance does not cover."""


def clean_key_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidKeyName: too long, or it has control characters.

    """
    name = name.strip()
    if len(name) > KEY_NAME_CHARS_MAX or not name.isprintable():
        msg = (
            f"the name of a key must have at most {KEY_NAME_CHARS_MAX} characters"
            " and no control characters"
        )
        raise InvalidKeyName(msg)
    return name


def clean_expiry(expires_at: datetime | None) -> datetime | None:
    """Return the end in UTC; None: never.

    Raises:
        InvalidExpiry: it is not in the future, or has no time zone.

    """
    if expires_at is None:
        return None
    try:
        utc = expires_at.astimezone(UTC) if expires_at.tzinfo else None
    except OverflowError:
        utc = None
    if utc is None or utc <= datetime.now(UTC):
        msg = "the expiry of a key must be in the future and have a time zone"
        raise InvalidExpiry(msg)
    return utc


def known_status(status: int | None) -> int | None:
    """Return the status; None: the operator's choice.

    Raises:
        InvalidInsufficientStatus: it is not among the choices.

    """
    if status is not None and status not in INSUFFICIENT_STATUSES:
        msg = f"insufficient_status must be one of {INSUFFICIENT_STATUSES}, or null"
        raise InvalidInsufficientStatus(msg)
    return status
