"""What a legacy text completion may cost: prompts as they are, nothing around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.document import empty_array, optional_integer, path_of, require, type_error
from tokenbalance.model import Estimate
from tokenbalance.tokens.chat import LARGEST_CAP, LARGEST_CHOICES
from tokenbalance.tokens.schemas import unread_tokens

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.tokens.counting import Measure
    from tokenbalance.tokens.models import Model

DEFAULT_CAP: Final = 16

_FIELDS: Final = frozenset({
    "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n",
    "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "temperature",
    "top_p", "user",
})  # fmt: skip


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """The ceiling of a text completion, its prompts measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    prompts, tokens = texts_tokens(document, "prompt", measure)
    told = optional_integer(document, "max_tokens", minimum=1, maximum=LARGEST_CAP)
    answers = max(
        optional_integer(document, field, minimum=1, maximum=LARGEST_CHOICES) or 1
        for field in ("n", "best_of")
    )
    return Estimate(
        input_tokens=tokens + model.overhead + unread_tokens(document, _FIELDS, measure),
        choices=prompts * answers,
        output_cap=DEFAULT_CAP if told is None else told,
        output_minimum=1,
        cap_fields=("max_tokens",),
    )


def texts_tokens(document: Document, field: str, measure: Measure) -> tuple[int, int]:
    """How many texts `field` holds, and their tokens at most.

    It is a text, a list of token numbers, or a list of either.

    Raises:
        MissingParameter: the field is absent.
        EmptyArray: it, or one of its lists, is empty.
        InvalidType: it is anything else.
    """
    value = require(document, field)
    if isinstance(value, str):
        return 1, measure(value)
    if not isinstance(value, list):
        raise type_error(field, "a string or an array", value)
    if not value:
        raise empty_array(field)
    if _is_token(value[0]):
        return 1, _token_count(value, field)
    return len(value), sum(
        measure(text) if isinstance(text, str) else _token_count(text, path_of(field, index))
        for index, text in enumerate(value)
    )


def _token_count(tokens: Json, at: str) -> int:
    if not isinstance(tokens, list):
        raise type_error(at, "a string or an array of integers", tokens)
    if not tokens:
        raise empty_array(at)
    for index, token in enumerate(tokens):
        if not _is_token(token):
            raise type_error(path_of(at, index), "an integer", token)
    return len(tokens)


def _is_token(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
