"""What a legacy text completion may cost: the prompts, with nothing around them."""

from __future__ import annotations

from operator import countOf
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings.chat import LARGEST_CAP, LARGEST_CHOICES
from tokenbalance.openai.ceilings.schemas import json_tokens, unread_tokens
from tokenbalance.openai.documents import (
    empty_array,
    optional_integer,
    path_of,
    require,
    type_error,
)

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

DEFAULT_CAP: Final = 16
_OTHER_CAPS: Final = ("n_predict", "num_predict", "max_new_tokens")
"""Output limits that some servers read before OpenAI's field."""

FIELDS: Final = frozenset({
    "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n",
    "presence_penalty", "prompt", "seed", "stop", "stream", "stream_options", "suffix",
    "temperature", "top_p", "user",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a text completion, its prompts measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    # Without a prompt the model starts a new text, after one token that says so.
    prompts, tokens = (1, 1) if _is_empty(document) else texts_tokens(document, "prompt", measure)
    cap_fields, named = _named_cap(document, model)
    tokens += model.overhead + json_tokens(document.get("suffix"), measure)
    return Estimate(
        input_tokens=tokens + unread_tokens(document, FIELDS, measure),
        choices=prompts * _choices(document),
        output_cap=DEFAULT_CAP if named is None else named,
        output_minimum=1,
        cap_fields=cap_fields,
        tells_cap=model.is_foreign,
    )


def _is_empty(document: Document) -> bool:
    return document.get("prompt") in (None, [])


def _choices(document: Document) -> int:
    """Choices for one prompt; `best_of` 0 is 1."""
    best_of = optional_integer(document, "best_of", minimum=0, maximum=LARGEST_CHOICES) or 1
    return max(optional_integer(document, "n", minimum=1, maximum=LARGEST_CHOICES) or 1, best_of)


def _named_cap(document: Document, model: Model) -> tuple[tuple[str, ...], int | None]:
    """The fields that limit the output, and the smallest limit that the client has set in them.

    OpenAI accepts 0, to return only the prompt's probabilities. Elsewhere 0 may mean no limit.
    """
    others = _OTHER_CAPS if model.is_foreign else ()
    names = ("max_tokens", *(name for name in others if document.get(name) is not None))
    least = 1 if model.is_foreign else 0
    caps = (optional_integer(document, name, minimum=least, maximum=LARGEST_CAP) for name in names)
    return names, min((cap for cap in caps if cap is not None), default=None)


def texts_tokens(document: Document, field: str, measure: Measure) -> tuple[int, int]:
    """Return the number of texts in `field`, and their tokens at most.

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
    if countOf(map(type, tokens), int) != len(tokens):
        index = next(index for index, token in enumerate(tokens) if not _is_token(token))
        raise type_error(path_of(at, index), "an integer", tokens[index])
    return len(tokens)


def _is_token(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
