"""Limits as text, as commands, settings and forms write them. Pure.

Each is `NAME=VALUE`:

    requests_per_minute=60
    models=!gpt-5*|gpt-*        the entries of a list are parted by `|`
    tools=[]                    a list without entries
    credits_per_day=none        no limit; `null`, as errors call it, is read as well
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.people.limits import LIMITS, InvalidLimit, KeyLimits, limit_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.people.limits import LimitChanges, LimitValue

NONE: Final = "none"
EMPTY: Final = "[]"
_NONES: Final = frozenset({NONE, "null"})
LISTS: Final = frozenset({"models", "endpoints", "addresses", "service_tiers", "tools"})
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


def read_value(name: str, text: str) -> LimitValue:
    """Read the value of a limit; None: no limit.

    Raises:
        InvalidLimit: the limit is unknown, or the value is not valid.

    """
    text = text.strip()
    if text.lower() in _NONES or name not in LIMITS:
        return limit_value(name, None)
    if name in LISTS:
        entries = [] if text == EMPTY else [entry.strip() for entry in text.split("|")]
        return limit_value(name, entries)
    digits = text.replace("_", "")
    return limit_value(name, int(digits) if _DIGITS.fullmatch(digits) else text)


def read_limits(texts: Iterable[str]) -> LimitChanges:
    """Read limits, each written `NAME=VALUE`.

    Raises:
        InvalidLimit: one of them is not valid, or is there twice.

    """
    limits: dict[str, LimitValue] = {}
    for text in texts:
        name, is_set, value = text.partition("=")
        name = name.strip()
        if not is_set:
            raise InvalidLimit(name[:50], "must be written NAME=VALUE, such as parallel_requests=3")
        if name in limits:
            raise InvalidLimit(name, "is set twice")
        limits[name] = read_value(name, value)
    return limits


def read_setting(text: str) -> KeyLimits:
    """Read the limits of a setting: `NAME=VALUE,NAME=VALUE`.

    Raises:
        InvalidLimit: one of them is not valid.

    """
    texts = [part for part in text.split(",") if part.strip()]
    return KeyLimits(**read_limits(texts))  # pyright: ignore[reportArgumentType] - each is checked


def written(value: LimitValue) -> str:
    """Write the value of a limit, as `read_value` reads it."""
    match value:
        case None:
            return NONE
        case int():
            return str(value)
        case _:
            return "|".join(value) or EMPTY
