"""Which of the upstream's models callers are told of: a fine-tune is somebody's, others anybody's.

Owns how a fine-tune is known, and how lists are cut. It must never decide what a request may use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeGuard, cast

import orjson

from tokenbalance.errors import ModelNotFound

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

_NAMED_BY: Final = ("id", "name", "model")
# Or with an escape in it. Most lists name none, and then need not be read.
_MAY_NAME_ONE: Final = re.compile(rb"(?i)ft:|\\")


def check_model_path(path: bytes) -> None:
    """Go on only with a model that may be told of.

    Args:
        path: raw, below `/v1`, of one model or of all.

    Raises:
        ModelNotFound: it is a fine-tune; in the words that OpenAI has for what is not there.

    """
    name = path.removeprefix(b"/models").removeprefix(b"/").decode("ascii", "replace")
    if _is_fine_tune(name):
        raise ModelNotFound(f"The model '{name}' does not exist", param="model")


def without_fine_tunes(body: bytes) -> bytes:
    """Cut fine-tunes out of an answer; one that has none is given as it came."""
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
    """Whether it is called `ft:...`. Those that were called otherwise ended with their models."""
    return name.lower().startswith("ft:")
