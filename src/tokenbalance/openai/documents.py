"""One request body as a strict JSON object, and typed readers of its fields.

Strict means that no two parsers can read different requests from one body: the hold is for exactly
what the upstream will do. Nothing here knows the meaning of a field, beyond the names of those that
decide a request's cost. An error names fields and never contains a value of the body.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.errors import (
    EmptyArray,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidJson,
    InvalidType,
    MissingParameter,
    UnknownParameter,
)
from tokenbalance.openai.json_faults import fault_in
from tokenbalance.openai.json_text import (
    MAXIMUM_DEPTH,
    PIECE_BYTES,
    NotJsonError,
    TooDeepError,
    loaded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tokenbalance.model import Document, Json

MAXIMUM_VALUES: Final = 400_000
"""Values in one body: as many as the largest request for embeddings of token lists has, and few
enough to be read within tens of milliseconds."""

COST_FIELDS: Final = frozenset({
    "background", "best_of", "conversation", "functions", "grader", "images", "input",
    "input_fidelity", "instructions", "mask", "max_completion_tokens", "max_output_tokens",
    "max_tokens", "max_tool_calls", "messages", "modalities", "model", "model_sample", "n",
    "output_format", "partial_images", "prediction", "previous_response_id", "prompt", "quality",
    "query", "questions", "response_format", "service_tier", "size", "stream", "stream_format",
    "stream_options", "suffix", "svg", "text", "tool_choice", "tools", "web_search_options",
})  # fmt: skip
"""Top-level fields that another parser must not find under another spelling."""

INEXACT: Final = 2**63
"""From here on a float may represent an integer that the source spells out."""
_TWICE: Final = "it has a key twice in one object"
_LONGEST_ESCAPE: Final = len(b"\\u0022")
_SPARSE_BYTES: Final = 256
"""To find quotes one by one costs as much as to count them where one comes in so many bytes."""
_COLLECTED_BYTES_MAX: Final = 64 * 1024
"""A body of so few bytes has too few objects for more than a few collections of the youngest."""
_DENSEST: Final = MAXIMUM_VALUES * 3 // 2
"""No shorter body has more values: not even `[],[],` has more than two separators in three bytes.
"""
_SCALARS: Final = frozenset({bool, float, int, type(None)})


def parse_document(body: bytes) -> Document:
    """Return the object in `body`, if no other parser can read it differently.

    UTF-8 without a byte order mark; no NaN, Infinity or number beyond a double; no lone
    surrogates; no duplicate keys in any object; at most `MAXIMUM_DEPTH` levels and `MAXIMUM_VALUES`
    values. An integer beyond 64 bits becomes a float near the value in the source.

    Raises:
        InvalidJson: anything else.
        UnknownParameter: a key equals one of `COST_FIELDS` except for case or stray characters.
    """
    if _has_too_many_values(body):
        raise InvalidJson(_message(f"it has more than {MAXIMUM_VALUES} values"))
    document = _loaded(body)
    try:
        strings = _survey(document)
    except TooDeepError as error:
        raise _refused(body, error) from None
    if not _has_only(strings, body):
        raise InvalidJson(_message(_TWICE))
    _refuse_lookalikes(document)
    return document


def _message(reason: str) -> str:
    return f"We could not parse the JSON body of your request: {reason}."


def _refused(body: bytes, error: NotJsonError) -> InvalidJson:
    reason, field = fault_in(body, error.reason)
    return InvalidJson(_message(reason), param=field)


def _has_too_many_values(body: bytes) -> bool:
    """Find very many values before memory is spent on them."""
    if len(body) <= _DENSEST or _separators(body) <= MAXIMUM_VALUES:
        return False
    separators = inside = 0
    for piece in _pieces(body):
        parts = piece.replace(b'\\"', b"").split(b'"')
        # Every second part is inside a string.
        separators += _separators(b"".join(parts[inside::2]))
        if separators > MAXIMUM_VALUES:
            return True
        inside = (inside + len(parts) - 1) % 2
    return False


def _separators(body: bytes) -> int:
    return sum(_count(body, separator) for separator in (b",", b"[", b"{"))


def _count(body: bytes, byte: bytes) -> int:
    if len(body) <= PIECE_BYTES:
        return body.count(byte)
    slices = range(0, len(body), PIECE_BYTES)
    return sum(body.count(byte, start, start + PIECE_BYTES) for start in slices)


def _pieces(body: bytes) -> Iterator[bytes]:
    """Yield the body in pieces that cut no escape sequence in two, without escaped backslashes.

    So a backslash that is left begins an escape sequence.
    """
    rest = b""
    for start in range(0, len(body), PIECE_BYTES):
        piece = (rest + body[start : start + PIECE_BYTES]).replace(b"\\\\", b"--")
        cut = piece.rfind(b"\\", -_LONGEST_ESCAPE + 1)
        rest = b"" if cut < 0 else piece[cut:]
        yield piece if cut < 0 else piece[:cut]
    yield rest


def _loaded(body: bytes) -> Document:
    # The collector would look at all objects again and again while they become more.
    pauses = len(body) > _COLLECTED_BYTES_MAX and gc.isenabled()
    if pauses:
        gc.disable()
    try:
        parsed = loaded(body)
    except NotJsonError as error:
        raise _refused(body, error) from None
    finally:
        if pauses:
            gc.enable()
    if not isinstance(parsed, dict):
        raise InvalidJson(_message("it is not a JSON object"))
    return parsed


def _has_only(strings: int, body: bytes) -> bool:
    """Whether a valid body has as many strings as the document that was parsed from it.

    It has more exactly if a key is twice in one object: the document has only the last of them. So
    two counts take the place of a second parse. Most bodies have no quotes but those around
    strings.
    """
    quotes = 2 * strings
    if quotes * _SPARSE_BYTES < len(body):
        at = -1
        for _ in range(quotes):
            at = body.find(b'"', at + 1)
        if body.find(b'"', at + 1) < 0:
            return True
    elif _count(body, b'"') == quotes:
        return True
    return b"\\" in body and _quotes_around_strings(body) == quotes


def _quotes_around_strings(body: bytes) -> int:
    """Count the quotes of a valid body that are not escaped."""
    return sum(piece.count(b'"') - piece.count(b'\\"') for piece in _pieces(body))


def _survey(document: Document) -> int:
    """Count the strings of a document, its keys included, and refuse depth."""
    strings = depth = 0
    level: list[dict[str, Json] | list[Json]] = [document]
    while level:
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise TooDeepError
        below: list[dict[str, Json] | list[Json]] = []
        for node in level:
            values: Iterable[Json] = node
            if isinstance(node, dict):
                strings += len(node)
                values = node.values()
            elif not node or (type(node[0]) in _SCALARS and _are_scalars(node)):
                continue
            for value in values:
                if isinstance(value, str):
                    strings += 1
                elif isinstance(value, (dict, list)):
                    below.append(value)
        level = below
    return strings


def _are_scalars(values: list[Json]) -> bool:
    """Whether a list has no strings, lists or objects."""
    try:
        # Only numbers have a sum, and it takes a fifth of the time that a look at each type takes.
        _ = sum(cast("list[float]", values))
    except TypeError:
        return _SCALARS.issuperset(map(type, values))
    return True


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
    param, got = path_of(at, key), f", but got {value} instead"
    if isinstance(value, float) and abs(value) >= INEXACT:
        # Not the digits that were sent.
        value, got = int(value), ""
    if isinstance(value, bool) or not isinstance(value, int):
        raise type_error(param, "an integer", value)
    if value < minimum:
        message = f"Invalid '{param}': integer below minimum value. Expected a value >= {minimum}"
        raise IntegerBelowMinimum(f"{message}{got}.", param=param)
    if value > maximum:
        message = f"Invalid '{param}': integer above maximum value. Expected a value <= {maximum}"
        raise IntegerAboveMaximum(f"{message}{got}.", param=param)
    return value
