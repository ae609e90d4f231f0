"""Limits that the owner of a key has set; stored with the key and shown.

Defines the limits, their valid values, and what they become in a key that is made with another.
Nothing is counted or refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.model import JSON_INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document

LIMIT_MAX: Final = JSON_INTEGER_MAX
MODEL_PATTERNS_MAX: Final = 100
MODEL_PATTERN_CHARS_MAX: Final = 200
_WILDCARD: Final = re.compile(r"\[!?\]?[^\]]*\]|[*?]")


class InvalidLimit(ValueError):
    """A limit is not valid; the message is one line for people and begins with the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Limits of one key; None: no limit.

    Raises:
        InvalidLimit: one of them is not valid.

    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_requests: int | None = None
    credits_total: int | None = None
    """Credits over the lifetime of the key."""
    models: tuple[str, ...] | None = None
    """Patterns such as `gpt-4o-*`; the name of the model must match one of them."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = cast("object", getattr(self, field.name))
            if value is not None:
                check = _check_models if field.name == "models" else _check_number
                check(field.name, value)

    def as_document(self) -> Document:
        """Return the limits that are set, as JSON."""
        values = {field.name: cast("object", getattr(self, field.name)) for field in fields(self)}
        document = {
            name: list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }
        return cast("Document", document)

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> KeyLimits:
        """Read limits from JSON; null: no limit.

        Raises:
            InvalidLimit: one of them is unknown or not valid.

        """
        names = {field.name for field in fields(cls)}
        for name in document:
            if name not in names:
                raise InvalidLimit(name, "is not a known limit")
        values = {
            name: tuple(cast("list[object]", value)) if isinstance(value, list) else value
            for name, value in document.items()
        }
        return cls(**values)  # pyright: ignore[reportArgumentType] - checked in __post_init__


def tighter(wanted: KeyLimits, maker: KeyLimits) -> KeyLimits:
    """Return the limits of a key that is made with another: of each, the tighter of both.

    Raises:
        InvalidLimit: `models` has a pattern for names that none of the maker's patterns match.

    """
    return KeyLimits(
        requests_per_minute=_lower(wanted.requests_per_minute, maker.requests_per_minute),
        tokens_per_minute=_lower(wanted.tokens_per_minute, maker.tokens_per_minute),
        parallel_requests=_lower(wanted.parallel_requests, maker.parallel_requests),
        credits_total=_lower(wanted.credits_total, maker.credits_total),
        models=_covered(wanted.models, maker.models),
    )


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _covered(
    wanted: tuple[str, ...] | None, maker: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """Return the wanted patterns, if the maker's match every name that they match."""
    if wanted is None or maker is None:
        return wanted or maker
    for pattern in wanted:
        if not any(_covers(wider, pattern) for wider in maker):
            raise InvalidLimit(
                "models", f"{pattern!r} is not among the models of the key that it is made with"
            )
    return wanted


def _covers(wider: str, pattern: str) -> bool:
    """Whether `wider` matches every name that `pattern` does; False if that is not obvious."""
    if wider == pattern:
        return True
    literal, wildcards = _WILDCARD.subn("\0", pattern)
    if wildcards and _WILDCARD.search(wider.replace("*", "")):
        return False
    # A placeholder for a wildcard is matched only by a star, which matches all that it may be.
    return fnmatchcase(literal, wider)


def _check_number(field: str, value: object) -> None:
    # A boolean is an integer to Python, and a mistake here.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LIMIT_MAX:
        raise InvalidLimit(field, f"must be an integer from 1 to {LIMIT_MAX:,}, or null")


def _check_models(field: str, value: object) -> None:
    patterns = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    if not 1 <= len(patterns) <= MODEL_PATTERNS_MAX or not all(map(_is_pattern, patterns)):
        raise InvalidLimit(
            field,
            f"must be a list of 1 to {MODEL_PATTERNS_MAX} patterns without spaces, each of 1 to"
            f" {MODEL_PATTERN_CHARS_MAX} characters, or null",
        )


def _is_pattern(value: object) -> bool:
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MODEL_PATTERN_CHARS_MAX
        and value.isprintable()
        and " " not in value
    )
