"""Names of models as patterns of a rate card, in an order in which every pattern can match.

A card's patterns are globs, and its first row that matches counts.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.catalogue.terms import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokenbalance.books.pricing.catalogue.terms import PricedModel

_DIGIT: Final = "[0-9]"
_SPECIAL: Final = re.compile(r"[*?\[]")
_TOKEN: Final = re.compile(
    r"(?P<digits>\\d(?:\{(?P<count>\d{1,2})\})?)|\\(?P<escaped>[.:/-])|(?P<plain>[A-Za-z0-9:/_-])"
)


def literal(name: str) -> str:
    """Return a glob that matches this text only, which is the text itself.

    Raises:
        CatalogueError: it would be more than a name.

    """
    if not name or _SPECIAL.search(name):
        raise CatalogueError(f"{name!a} cannot be written as a pattern of a rate card")
    return name


def glob_of(regex: str) -> str:
    r"""Return the glob that matches what a regular expression of names and digits finds.

    Raises:
        CatalogueError: it has more in it than plain characters, `\\d`, `\\d{n}`, `^` and `$`.

    """
    body = regex.removeprefix("^").removesuffix("$")
    glob = "" if regex.startswith("^") else "*"
    end = 0
    while found := _TOKEN.match(body, end):
        if found["digits"]:
            glob += _DIGIT * int(found["count"] or 1)
        else:
            glob += found["escaped"] or found["plain"]
        end = found.end()
    if end != len(body):
        raise CatalogueError(f"{regex} cannot be written as a pattern of a rate card")
    return glob if regex.endswith("$") else f"{glob}*"


def sample(pattern: str) -> str:
    """Return a name that a pattern from here matches, without a part for each `*`."""
    return pattern.replace(_DIGIT, "0").replace("*", "")


def covers(pattern: str, other: str) -> bool:
    """Whether `pattern` matches every name that `other` does, both of them from here."""
    return fnmatchcase(sample(other.replace("*", "\0")), pattern)


def ordered(models: Iterable[PricedModel]) -> tuple[PricedModel, ...]:
    """Sort models so that special patterns come before general ones, without what cannot match."""
    placed: list[PricedModel] = []
    for model in models:
        at = next((n for n, other in enumerate(placed) if _hides(other, model)), len(placed))
        placed.insert(at, model)
    seen: list[str] = []
    reachable: list[PricedModel] = []
    for model in placed:
        patterns = _reachable(model.patterns, seen)
        if patterns:
            reachable.append(replace(model, patterns=patterns))
            seen += patterns
    return tuple(reachable)


def _hides(model: PricedModel, later: PricedModel) -> bool:
    """Whether a pattern of one matches all that a pattern of the other does, and more."""
    return any(
        pattern != other and covers(pattern, other)
        for pattern in model.patterns
        for other in later.patterns
    )


def _reachable(patterns: Sequence[str], earlier: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    # General ones first, which make others of the same row needless.
    for pattern in sorted(dict.fromkeys(patterns), key=lambda one: "*" not in one):
        if not any(covers(other, pattern) for other in (*earlier, *kept)):
            kept.append(pattern)
    return tuple(pattern for pattern in dict.fromkeys(patterns) if pattern in kept)
