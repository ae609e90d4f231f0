"""Patterns of model names: which of two matches all that the other does. Pure.

A pattern is compared as requests are: in any case of letters, with the name of the model and with
the names of the model that it stands for.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from tokenbalance.model.model_names import FINE_TUNE, GATEWAYS, forms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DENIES: Final = "!"
"""How a pattern begins that forbids the models it matches."""
_WILDCARD: Final = re.compile(r"\[!?\]?[^\]]*\]|[*?]")


def covers(wider: str, pattern: str) -> bool:
    """Whether `wider` matches every name that `pattern` does; False if that is not obvious."""
    wider, pattern = wider.casefold(), pattern.casefold()
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
    forms = forms_of(pattern) if is_name else (pattern,)
    denials: list[str] = []
    for other in among:
        if not other.startswith(DENIES):
            if covers(other, pattern):
                return tuple(denials)
            continue
        denied = other.removeprefix(DENIES)
        if any(covers(denied, form) for form in forms):
            return None
        if not is_name or _may_match_another_name_of(forms[0], denied):
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


def _may_match_another_name_of(model: str, pattern: str) -> bool:
    """Whether a pattern may match a model that stands for `model`: by a gateway, or tuned from it.

    True as well if that is not obvious.
    """
    literal = _WILDCARD.split(pattern.casefold(), maxsplit=1)[0]
    return any(
        literal.startswith(begin) or begin.startswith(literal)
        for gateway in ("", *GATEWAYS)
        for begin in (f"{gateway}{FINE_TUNE}{model}", f"{gateway}{model}")
        if begin != model
    )
