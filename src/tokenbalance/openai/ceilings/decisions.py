"""What decisions may cost: the input, the questions about it, and a bound on their answers.

No field limits the output. Answers are numbers, one for each choice or level; what a model writes
before them is bounded generously for each question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings.items import is_media, item_tokens
from tokenbalance.openai.ceilings.schemas import json_tokens, unread_tokens
from tokenbalance.openai.documents import path_of, require, require_list

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

FIELDS: Final = frozenset({
    "input", "model", "prompt_cache_key", "prompt_cache_options", "questions", "safety_identifier",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
_FRAME: Final = 64
_QUESTION: Final = 32
"""What the upstream writes around a question."""
_ANSWERS: Final = 4_096
_ANSWER: Final = 256


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of decisions, their text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    given = require(document, "input")
    questions = require_list(document, "questions")
    items = given if isinstance(given, list) else []
    tokens = 0 if items else json_tokens(given, measure)
    for index, item in enumerate(items):
        tokens += item_tokens(item, path_of("input", index), model, measure)
    for question in questions:
        tokens += _QUESTION + json_tokens(question, measure)
    return Estimate(
        input_tokens=_FRAME + model.overhead + tokens + unread_tokens(document, FIELDS, measure),
        output_cap=min(model.maximum_output, _ANSWERS + _ANSWER * len(questions)),
        has_media=any(map(is_media, items)),
    )
