"""Errors about a field, as OpenAI words them: with its code and the name of the field.

Never with its value, which may be a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.errors import (
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidRequest,
    InvalidType,
    InvalidValue,
    MissingParameter,
    UnknownParameter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

SHOWN_CHARS: Final = 100
_BY_KIND: Final[Mapping[str, tuple[type[InvalidRequest], str]]] = {
    "missing": (MissingParameter, "Missing required parameter: '{field}'."),
    "extra_forbidden": (UnknownParameter, "Unknown parameter: '{field}'."),
    "greater_than_equal": (
        IntegerBelowMinimum,
        "Invalid '{field}': integer below minimum value. {reason}.",
    ),
    "less_than_equal": (
        IntegerAboveMaximum,
        "Invalid '{field}': integer above maximum value. {reason}.",
    ),
}
_WRONG_TYPE: Final = (InvalidType, "Invalid type for '{field}': {reason}.")
_WRONG_VALUE: Final = (InvalidValue, "Invalid '{field}': {reason}.")
_TYPE_ENDS: Final = ("_type", "_parsing", "int_from_float")


def refusal(details: ErrorDetails) -> InvalidRequest:
    """Turn an error of pydantic into a response.

    Args:
        details: about a field of a body.

    """
    return refusal_at(details["loc"], details["type"], details["msg"])


def refusal_at(location: Sequence[int | str], kind: str, reason: str) -> InvalidRequest:
    """Build the error about a field.

    Args:
        location: the field, from the outside in.
        kind: pydantic's name of the error.
        reason: a sentence that does not repeat the value.

    """
    known = _WRONG_TYPE if kind.endswith(_TYPE_ENDS) else _WRONG_VALUE
    refused, message = _BY_KIND.get(kind, known)
    field = shown(".".join(str(part) for part in location))
    reason = reason.removeprefix("Value error, ").removesuffix(".")
    return refused(message.format(field=field or "body", reason=reason), param=field or None)


def unknown_parameter(name: str) -> UnknownParameter:
    """Build the error about an unknown parameter."""
    field = shown(name)
    return UnknownParameter(f"Unknown parameter: '{field}'.", param=field)


def shown(name: str) -> str:
    """Return a field's name, chosen by the client, on one line and shortened."""
    return name[:SHOWN_CHARS] if name.isprintable() else ascii(name[:SHOWN_CHARS])
