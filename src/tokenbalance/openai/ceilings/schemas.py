"""Tokens of what the upstream writes into the prompt by itself: functions and JSON schemas.

OpenAI renders them in its own format (functions as TypeScript, output schemas as JSON). The
constants are ceilings found on recorded responses: no recorded request is above them. Free text in
a schema is measured; everything around it is a constant for each value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Json
    from tokenbalance.openai.tokens.counting import Measure

_KEY: Final = 1
_TEXT: Final = 2
_LINE: Final = 2
"""A line break in a description: the upstream may indent each line, or mark it as a comment."""
_CHOICE: Final = 3
"""One value of an `enum`, with quotes and the separating bar."""
_FUNCTION: Final = 14
_FORMAT: Final = 20
_PROPERTY: Final = 4
_TYPE: Final = 2
_NAMED: Final = frozenset({"$defs", "definitions", "patternProperties", "properties"})
"""Members of a schema that are schemas by name."""
_NESTED: Final = frozenset({"additionalProperties", "allOf", "anyOf", "items", "oneOf"})
"""Members that are a schema, a list of schemas or a boolean, rendered as punctuation."""
_UNSAID: Final = frozenset({"$schema", "title"})
"""Members that no known rendering contains; their text counts, in case one does."""
_INEXACT: Final = 2**53
_LONGEST_NUMBER: Final = 320
"""Digits of the longest integer that a float can hold: `1e308` may be written with all of them."""
_NOTHING: Final[tuple[Json, ...]] = (None, "", [], {})


def json_tokens(value: Json, measure: Measure) -> int:
    """Tokens at most of `value` written as JSON or as a type; 0 for null."""
    if value is None:
        return 0
    if isinstance(value, str):
        return measure(value) + _TEXT + _LINE * value.count("\n")
    if isinstance(value, dict):
        tokens = 1
        for key, member in value.items():
            tokens += _member_tokens(key, member, measure)
        return tokens
    if isinstance(value, list):
        tokens = 1 + len(value)
        for element in value:
            tokens += json_tokens(element, measure)
        return tokens
    # A number has at most as many tokens as digits.
    if isinstance(value, float) and abs(value) >= _INEXACT:
        return _LONGEST_NUMBER
    return 2 if isinstance(value, bool) else len(str(value)) + 1


def _member_tokens(key: str, member: Json, measure: Measure) -> int:
    if key == "enum" and isinstance(member, list):
        return _CHOICE + sum(json_tokens(choice, measure) + _CHOICE for choice in member)
    return measure(key) + _KEY + json_tokens(member, measure)


def unread_tokens(fields: Mapping[str, Json], known: frozenset[str], measure: Measure) -> int:
    """Tokens at most of the `fields` that are not `known`, in case the model reads them.

    Empty ones count 0, since clients that write all fields of a type send many.
    """
    if fields.keys() <= known:
        return 0
    return sum(
        measure(key) + _KEY + json_tokens(member, measure)
        for key, member in fields.items()
        if key not in known and member not in _NOTHING
    )


def function_tokens(function: Mapping[str, Json], measure: Measure) -> int:
    """Tokens at most of one function: its name, description, parameters and other members."""
    return _FUNCTION + sum(
        _schema_tokens(member, measure) if key == "parameters" else json_tokens(member, measure)
        for key, member in function.items()
        if key not in {"strict", "type", "defer_loading"}
    )


def _schema_tokens(schema: Json, measure: Measure) -> int:
    """Tokens at most of a schema that is rendered as a TypeScript type."""
    if isinstance(schema, dict):
        return _TYPE + sum(_keyword_tokens(key, value, measure) for key, value in schema.items())
    if isinstance(schema, list):
        return sum(_TYPE + _schema_tokens(element, measure) for element in schema)
    return 0 if isinstance(schema, bool) else json_tokens(schema, measure)


def _keyword_tokens(key: str, value: Json, measure: Measure) -> int:
    if key in _NAMED and isinstance(value, dict):
        return sum(
            measure(name) + _PROPERTY + _schema_tokens(schema, measure)
            for name, schema in value.items()
        )
    if key in _NESTED:
        return _TYPE + _schema_tokens(value, measure)
    if isinstance(value, str) and (key == "type" or key in _UNSAID):
        return measure(value)
    if key == "required" and isinstance(value, list):
        return len(value)
    if key == "description":
        return json_tokens(value, measure)
    return _member_tokens(key, value, measure)


def format_tokens(schema: Mapping[str, Json], measure: Measure) -> int:
    """Tokens at most of the schema that the output has to follow, with its name."""
    return _FORMAT + sum(
        json_tokens(member, measure)
        for key, member in schema.items()
        if key not in {"strict", "type"}
    )
