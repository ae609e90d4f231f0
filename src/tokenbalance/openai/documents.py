"""One request body as a strict JSON object, and typed readers of its fields.

Strict means that no two parsers can read different requests from one body: the hold is for exactly
what the upstream will do. Nothing here knows the meaning of a field, beyond the names of those that
decide a request's cost. An error never contains text of the body.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, cast

import orjson

from tokenbalance.errors import (
    EmptyArray,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidJson,
    InvalidType,
    MissingParameter,
    UnknownParameter,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tokenbalance.model import Document, Json

MAXIMUM_DEPTH: Final = 64
MAXIMUM_VALUES: Final = 400_000
"""Values in one body: as many as the largest request for embeddings of token lists has, and few
enough to be read within tens of milliseconds."""

COST_FIELDS: Final = frozenset({
    "background",
    "best_of",
    "conversation",
    "functions",
    "input",
    "instructions",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "messages",
    "modalities",
    "model",
    "n",
    "prediction",
    "previous_response_id",
    "prompt",
    "response_format",
    "service_tier",
    "stream",
    "stream_options",
    "suffix",
    "text",
    "tool_choice",
    "tools",
    "web_search_options",
})  # fmt: skip
"""Top-level fields that another parser must not find under another spelling."""

INEXACT: Final = 2**63
"""From here on a float may represent an integer that the source spells out."""
_TWICE: Final = "it has a key twice in one object"
# A string literal, or the rest of the body after a quote that is never closed: possessive and
# unable to fail, so that it is linear on every input.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def parse_document(body: bytes) -> Document:
    """Return the object in `body`, if no other parser can read it differently.

    UTF-8 without a byte order mark; no NaN, Infinity or number beyond a double; no lone
    surrogates; no duplicate keys in any object; at most `MAXIMUM_DEPTH` levels and `MAXIMUM_VALUES`
    values. An integer beyond 64 bits becomes a float near the value in the source.

    Raises:
        InvalidJson: anything else.
        UnknownParameter: a key equals one of `COST_FIELDS` except for case or stray characters.
    """
    _refuse_sprawl(body)
    try:
        parsed: object = orjson.loads(body)  # pyright: ignore[reportAny] - what orjson returns, before it is checked
    except orjson.JSONDecodeError:
        raise InvalidJson(_message("it is not valid JSON in UTF-8")) from None
    if not isinstance(parsed, dict):
        raise InvalidJson(_message("it is not a JSON object"))
    document = cast("Document", parsed)
    _refuse_ambiguity(body, document)
    _refuse_lookalikes(document)
    return document


def _message(reason: str) -> str:
    return f"We could not parse the JSON body of your request: {reason}."


def _refuse_sprawl(body: bytes) -> None:
    """Refuse a body with very many values before memory is spent on them."""
    if _separators(body) > MAXIMUM_VALUES and _separators(_STRING.sub(b"", body)) > MAXIMUM_VALUES:
        raise InvalidJson(_message(f"it has more than {MAXIMUM_VALUES} values"))


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _refuse_ambiguity(body: bytes, document: Document) -> None:
    """Refuse duplicate keys and depth.

    Every key of the source is followed by a colon; all other colons are inside strings. So a
    duplicate key, which orjson drops, shows as colons that the parsed document does not have. That
    takes two counts instead of a second parse. Only if the arithmetic does not apply (escaped
    colons), the body is parsed again, slowly.
    """
    colons = _survey(document)
    if b"\\u003a" in body or b"\\u003A" in body:
        _parse_slowly(body)
    elif colons != body.count(b":"):
        raise InvalidJson(_message(_TWICE))


def _survey(document: Document) -> int:
    """Count the colons that the document's source must have."""
    colons = depth = 0
    level: list[dict[str, Json] | list[Json]] = [document]
    while level:
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise InvalidJson(_message(f"it is nested deeper than {MAXIMUM_DEPTH} levels"))
        below: list[dict[str, Json] | list[Json]] = []
        for node in level:
            values: Iterable[Json] = node
            if isinstance(node, dict):
                colons += len(node) + "".join(node).count(":")
                values = node.values()
            for value in values:
                if isinstance(value, str):
                    colons += value.count(":")
                elif isinstance(value, (dict, list)):
                    below.append(value)
        level = below
    return colons


def _parse_slowly(body: bytes) -> None:
    try:
        # Numbers stay text: converting very many digits takes long.
        json.loads(body, object_pairs_hook=_unique, parse_int=str)
    except (ValueError, RecursionError):
        raise InvalidJson(_message(_TWICE)) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object for `json`; refuse pairs that `dict(pairs)` would drop."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError
    return unique


def _refuse_lookalikes(document: Document) -> None:
    for key in document:
        if key not in COST_FIELDS and (field := _plain(key)) in COST_FIELDS:
            message = f"Unknown parameter: a variant spelling of '{field}'."
            raise UnknownParameter(message, param=field)


def _plain(key: str) -> str:
    """Return `key` as a lenient parser may read it: without case, blanks, invisible characters."""
    if key.isascii() and key.isalnum():
        return key.casefold()
    visible = (character for character in key if "!" <= character <= "~")
    return "".join(visible).casefold()


def path_of(at: str, key: str | int) -> str:
    """Return the path of the field `key` of the value at `at`: `messages[0].content`."""
    if isinstance(key, int):
        return f"{at}[{key}]"
    return f"{at}.{key}" if at else key


def type_error(param: str, expected: str, value: Json) -> InvalidType:
    """Return the error for a `value` at `param` that is not `expected` ("an integer")."""
    got = _name_of_type(value)
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return InvalidType(message, param=param)


def _name_of_type(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    names = {bool: "a boolean", str: "a string", int: "an integer", float: "a decimal"}
    return names[type(value)]


def require(fields: Mapping[str, Json], key: str, *, at: str = "") -> Json:
    """Return the value of `key`, which may be null.

    Raises:
        MissingParameter: it is absent.
    """
    if key not in fields:
        param = path_of(at, key)
        raise MissingParameter(f"Missing required parameter: '{param}'.", param=param)
    return fields[key]


def require_string(fields: Mapping[str, Json], key: str, *, at: str = "") -> str:
    """Return the string at `key`.

    Raises:
        MissingParameter: it is absent.
        InvalidType: it is not a string.
    """
    value = require(fields, key, at=at)
    if not isinstance(value, str):
        raise type_error(path_of(at, key), "a string", value)
    return value


def require_list(fields: Mapping[str, Json], key: str, *, at: str = "") -> list[Json]:
    """Return the list at `key`, with at least one element.

    Raises:
        MissingParameter: it is absent.
        InvalidType: it is not a list.
        EmptyArray: it is empty.
    """
    value = require(fields, key, at=at)
    if not isinstance(value, list):
        raise type_error(path_of(at, key), "an array", value)
    if not value:
        raise empty_array(path_of(at, key))
    return value


def empty_array(param: str) -> EmptyArray:
    """Return the error for an empty list at `param`."""
    message = (
        f"Invalid '{param}': empty array. "
        "Expected an array with minimum length 1, but got an empty array instead."
    )
    return EmptyArray(message, param=param)


def require_object(value: Json, param: str) -> dict[str, Json]:
    """Return the `value` at `param` as an object.

    Raises:
        InvalidType: it is not one.
    """
    if not isinstance(value, dict):
        raise type_error(param, "an object", value)
    return value


def optional_string(fields: Mapping[str, Json], key: str, *, at: str = "") -> str | None:
    """Return the string at `key`; None if it is absent or null.

    Raises:
        InvalidType: it is something else.
    """
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise type_error(path_of(at, key), "a string", value)
    return value


def optional_boolean(fields: Mapping[str, Json], key: str, *, at: str = "") -> bool | None:
    """Return the boolean at `key`; None if it is absent or null.

    Raises:
        InvalidType: it is something else.
    """
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise type_error(path_of(at, key), "a boolean", value)
    return value


def optional_object(
    fields: Mapping[str, Json], key: str, *, at: str = ""
) -> dict[str, Json] | None:
    """Return the object at `key`; None if it is absent or null.

    Raises:
        InvalidType: it is something else.
    """
    value = fields.get(key)
    return None if value is None else require_object(value, path_of(at, key))


def optional_list(fields: Mapping[str, Json], key: str, *, at: str = "") -> list[Json]:
    """Return the list at `key`; empty if it is absent or null.

    Raises:
        InvalidType: it is something else.
    """
    value = fields.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise type_error(path_of(at, key), "an array", value)
    return value


def optional_integer(
    fields: Mapping[str, Json], key: str, *, minimum: int, maximum: int, at: str = ""
) -> int | None:
    """Return the integer at `key`, from `minimum` to `maximum`; None if it is absent or null.

    Raises:
        InvalidType: it is something else; booleans and decimals are not integers.
        IntegerBelowMinimum: it is too small.
        IntegerAboveMaximum: it is too large.
    """
    value = fields.get(key)
    if value is None:
        return None
    param = path_of(at, key)
    if isinstance(value, float) and abs(value) >= INEXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise type_error(param, "an integer", value)
    if value < minimum:
        message = (
            f"Invalid '{param}': integer below minimum value. "
            f"Expected a value >= {minimum}, but got {value} instead."
        )
        raise IntegerBelowMinimum(message, param=param)
    if value > maximum:
        message = (
            f"Invalid '{param}': integer above maximum value. "
            f"Expected a value <= {maximum}, but got {value} instead."
        )
        raise IntegerAboveMaximum(message, param=param)
    return value
