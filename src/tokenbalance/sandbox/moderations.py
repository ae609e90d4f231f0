"""`POST /moderations`: a text is flagged for each category whose name it mentions.

"This is violence" is flagged as `violence`, anything else is not. Moderations cost nothing and
report no usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.sandbox.fields import Fields, empty_array, invalid_type, text_within
from tokenbalance.sandbox.replies import Whole, new_id

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

DEFAULT_MODEL = "omni-moderation-latest"
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
CATEGORIES_WITH_IMAGES = frozenset(
    name for name in CATEGORIES if name.startswith(("self-harm", "violence")) or name == "sexual"
)

_SCORE_FLAGGED = 0.9
_SCORE_CLEAR = 0.0001


def moderate(fields: Fields) -> Whole:
    """Return one result for each text; a single one for a list of text and image parts.

    Raises:
        ApiError: OpenAI would not accept the request.
    """
    model = fields.text("model") or DEFAULT_MODEL
    results: list[Json] = [
        _result(text, with_image=with_image) for text, with_image in _inputs(fields)
    ]
    return Whole({"id": new_id("modr-"), "model": model, "results": results})


def _inputs(fields: Fields) -> list[tuple[str, bool]]:
    value = fields.required("input")
    if isinstance(value, str):
        return [(value, False)]
    if not isinstance(value, list):
        raise invalid_type("input", "a string, an array of strings or of objects", value)
    if not value:
        raise empty_array("input")
    if isinstance(value[0], dict):
        parts = fields.objects("input")
        return [(text_within(value), any(part.value("type") == "image_url" for part in parts))]
    return [(text, False) for text in fields.strings("input")]


def _result(text: str, *, with_image: bool) -> Document:
    words = text.lower()
    flags = {name: name in words for name in CATEGORIES}
    return {
        "flagged": any(flags.values()),
        "categories": {**flags},
        "category_scores": {
            name: _SCORE_FLAGGED if flagged else _SCORE_CLEAR for name, flagged in flags.items()
        },
        "category_applied_input_types": {
            name: _looked_at(name, with_image=with_image) for name in CATEGORIES
        },
    }


def _looked_at(category: str, *, with_image: bool) -> list[Json]:
    return ["text", "image"] if with_image and category in CATEGORIES_WITH_IMAGES else ["text"]
