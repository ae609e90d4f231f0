"""Which of the upstream's models callers may see: no fine-tunes in lists, and none that is refused.

Owns how a fine-tune is recognised, and how lists are filtered. It must never decide what a request
may use, and is told which models are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeGuard, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokenbalance.model import Document, Json

    IsRefused = Callable[[str], bool]
    """Says of a name whether requests for its model are refused."""

_NAMED_BY: Final = ("id", "name", "model")
_ASKED_FOR_BY: Final = ("id", "model", "name")
"""The first of these that a row has is what requests call its model."""
# Possibly with an escape in it. Most lists contain none, and need not be parsed.
_MAY_NAME_ONE: Final = re.compile(rb"(?i)ft:|\\")
_OF_FREE_OPERATIONS: Final = re.compile(r"(?:omni|text)-moderation-")
"""Only operations that cost nothing use these models, so that none is refused."""


def is_fine_tune_path(path: bytes) -> bool:
    """Whether the model of a path is a fine-tune, which only its owner may see.

    Args:
        path: raw, below `/v1`, of one model or of the list.

    """
    return _is_fine_tune(model_of(path))


def model_of(path: bytes) -> str:
    """Return the name in a raw path of one model; empty for that of the list."""
    name = path.removeprefix(b"/models").removeprefix(b"/").decode("ascii", "replace")
    return name.replace("%2F", "/")


def is_free(name: str) -> bool:
    """Whether only operations that cost nothing use this model."""
    return _OF_FREE_OPERATIONS.match(name) is not None


def visible_models(body: bytes, is_refused: IsRefused | None = None) -> bytes:
    """Remove models that callers may not see from a response.

    One without any is returned unchanged.

    Args:
        body: of the upstream's response.
        is_refused: None: no model is, and only fine-tunes are removed.

    """
    if is_refused is None and not _MAY_NAME_ONE.search(body):
        return body
    try:
        document = cast("Json", orjson.loads(body))
    except orjson.JSONDecodeError:
        return body
    if not isinstance(document, dict):
        return body
    cut = {name: _cut(value, is_refused) for name, value in document.items()}
    return body if cut == document else orjson.dumps(cut)


def _cut(value: Json, is_refused: IsRefused | None) -> Json:
    if not isinstance(value, list):
        return value
    return [each for each in value if not (_is_object(each) and _is_hidden(each, is_refused))]


def _is_object(value: Json) -> TypeGuard[Document]:
    return isinstance(value, dict)


def _is_hidden(row: Document, is_refused: IsRefused | None) -> bool:
    if any(_is_fine_tune(name) for name in _names(row, _NAMED_BY)):
        return True
    if is_refused is None:
        return False
    name = next(_names(row, _ASKED_FOR_BY), None)
    return name is not None and is_refused(name)


def _names(row: Document, keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        name = row.get(key)
        if isinstance(name, str):
            yield name


def _is_fine_tune(name: str) -> bool:
    """Whether it is called `ft:...`. Older names ended with their base models."""
    return name.lower().startswith("ft:")
