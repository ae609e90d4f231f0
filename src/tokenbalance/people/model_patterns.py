"""Patterns of model names: which of two matches all that the other does. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

DENIES: Final = "!"
"""How a pattern begins that forbids the models it matches."""
_WILDCARD: Final = re.compile(r"\[!?\]?[^\]]*\]|[*?]")


def covers(wider: str, pattern: str) -> bool:
    """Whether `wider` matches every name that `pattern` does; False if that is not obvious."""
    if wider == pattern:
        return True
    literal, wildcards = _WILDCARD.subn("\0", pattern)
    if wildcards and _WILDCARD.search(wider.replace("*", "")):
        return False
    # A placeholder for a wildcard is matched only by a star, which matches all that it may be.
    return fnmatchcase(literal, wider)


def denials_before(pattern: str, among: Sequence[str]) -> tuple[str, ...] | None:
    """Return what is forbidden before the pattern that allows all that `pattern` matches.

    None: no pattern obviously allows all of it.
    """
    is_name = _WILDCARD.search(pattern) is None
    denials: list[str] = []
    for other in among:
        if not other.startswith(DENIES):
            if covers(other, pattern):
                return tuple(denials)
        elif covers(other.removeprefix(DENIES), pattern):
            return None
        elif not is_name:
            denials.append(other)
    return None


def useless_denial(patterns: Sequence[str]) -> tuple[str, str] | None:
    """Find a pattern that forbids what one before it has allowed; with the one before it."""
    for number, pattern in enumerate(patterns):
        if pattern.startswith(DENIES):
            for before in patterns[:number]:
                if covers(before, pattern.removeprefix(DENIES)):
                    return pattern, before
    return None
