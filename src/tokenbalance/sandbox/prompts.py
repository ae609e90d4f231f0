"""Reads a field of texts or token ids: one of them, or a list.

Completions call it `prompt`, embeddings `input`; both take a string, strings, token ids, or
lists of token ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.sandbox.counting import count_text, text_of_tokens
from tokenbalance.sandbox.fields import Fields, empty_array, invalid_type

if TYPE_CHECKING:
    from tokenbalance.model import Json

_EXPECTED = "a string, an array of strings, an array of integers or an array of those"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text, and the tokens it costs."""

    text: str
    tokens: int


def prompts_in(fields: Fields, name: str, model: str) -> list[Prompt]:
    """Return every prompt of the field, in order.

    Raises:
        ApiError: the field is missing, empty, or none of the four shapes.
    """
    value = fields.required(name)
    if isinstance(value, str):
        return [Prompt(value, count_text(value, model))]
    if not isinstance(value, list):
        raise invalid_type(name, _EXPECTED, value)
    if not value:
        raise empty_array(name)
    if _are_tokens(value):
        return [_prompt(name, value, model)]
    return [_prompt(f"{name}[{index}]", element, model) for index, element in enumerate(value)]


def _prompt(path: str, value: Json, model: str) -> Prompt:
    if isinstance(value, str):
        return Prompt(value, count_text(value, model))
    if not isinstance(value, list) or not _are_tokens(value):
        raise invalid_type(path, _EXPECTED, value)
    tokens = [token for token in value if isinstance(token, int)]
    return Prompt(text_of_tokens(tokens, model), len(tokens))


def _are_tokens(value: list[Json]) -> bool:
    # A bool is an int in Python, but not in JSON.
    return bool(value) and all(type(element) is int for element in value)
