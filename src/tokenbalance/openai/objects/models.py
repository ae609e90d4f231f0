"""Which of the upstream's models callers may see: all except fine-tunes, which belong to a user.

Owns how a fine-tune is recognised, and how lists are filtered. It must never decide what a request
may use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeGuard, cast

import orjson

from tokenbalance.errors import ModelNotFound

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

_NAMED_BY: Final = ("id", "name", "model")
# Possibly with an escape in it. Most lists contain none, and need not be parsed.
_MAY_NAME_ONE: Final = re.compile(rb"(?i)ft:|\\")


def check_model_path(path: bytes) -> None:
    """Make sure that the model of a path may be seen.

    Args:
        path: raw, below `/v1`, of one model or of the list.

    Raises:
        ModelNotFound: it is a fine-tune; with OpenAI's message for a missing model.

    """
    name = path.removeprefix(b"/models").removeprefix(b"/").decode("ascii", "replace")
    if _is_fine_tune(name):
        raise ModelNotFound(f"The model '{name}' does not exist", param="model")


def without_fine_tunes(body: bytes) -> bytes:
    """Remove fine-tunes from a response; one without any is returned unchanged."""
    if not _MAY_NAME_ONE.search(body):
        return body
    try:
        document = cast("Json", orjson.loads(body))
    except orjson.JSONDecodeError:
        return body
    if not isinstance(document, dict):
        return body
    cut = {name: _cut(value) for name, value in document.items()}
    return body if cut == document else orjson.dumps(cut)


def _cut(value: Json) -> Json:
    if not isinstance(value, list):
        return value
    return [each for each in value if not (_is_object(each) and _names_fine_tune(each))]


def _is_object(value: Json) -> TypeGuard[Document]:
    return isinstance(value, dict)


def _names_fine_tune(row: Document) -> bool:
    names = [row.get(key) for key in _NAMED_BY]
    return any(isinstance(name, str) and _is_fine_tune(name) for name in names)


def _is_fine_tune(name: str) -> bool:
    """Whether it is called `ft:...`. Older names ended with their base models."""
    return name.lower().startswith("ft:")
