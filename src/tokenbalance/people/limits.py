"""Limits that the owner of a key has set; stored with the key and shown.

Defines the limits and their valid values. Nothing is counted or refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.model import JSON_INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document

LIMIT_MAX: Final = JSON_INTEGER_MAX
MODEL_PATTERNS_MAX: Final = 100
MODEL_PATTERN_CHARS_MAX: Final = 200


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
