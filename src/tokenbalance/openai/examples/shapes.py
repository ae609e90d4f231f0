"""Shapes that the examples of many operations have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.operation import Examples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document

CREATED: Final = 1893456000
"""2030-01-01, in seconds since 1970."""
_NO_PARAMETERS: Final[Mapping[str, str]] = {}


def page_of(*data: Document) -> Document:
    """A page of a list, which is its last."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"],
        "last_id": data[-1]["id"],
        "has_more": False,
    }


def deleted(object_id: str, kind: str) -> Document:
    """What a deletion responds with."""
    return {"id": object_id, "object": kind, "deleted": True}


def read(response: Document, parameters: Mapping[str, str] = _NO_PARAMETERS) -> Examples:
    """An operation without a body."""
    return Examples({}, response, parameters=parameters)


def bytes_at(parameters: Mapping[str, str]) -> Examples:
    """An operation that responds with bytes, or with nothing: neither is shown."""
    return Examples({}, {}, parameters=parameters)
