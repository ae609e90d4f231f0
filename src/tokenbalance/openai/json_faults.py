"""Why a body that was refused is not strict JSON: the field, and what is wrong there.

Only for error messages, and only after a refusal: nothing here decides whether a body is accepted.
It names fields and never repeats a value.
"""

from __future__ import annotations

import enum
import json
import math
import re
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from tokenbalance.openai.json_text import MAXIMUM_DEPTH, TooDeepError

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_MAX: Final = 16 * 1024
"""Of a body that is looked at: a few milliseconds. Longer ones are refused without a field."""
_TOKEN: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"?(\s*:)?|[\[{\]}]', re.DOTALL)
"""A string without an end goes on to the end of the text, so that no byte is read twice."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""Names of fields; any other key may be text that does not belong in an error."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Number(enum.Enum):
    """What cannot be represented, in place of its value."""

    NONE = "is not a number (NaN or Infinity)"
    HUGE = "is a number that is too large to be represented"


_Read: TypeAlias = "dict[str, _Read] | list[_Read] | str | float | bool | _Number | None"


def fault_in(body: bytes, reason: str) -> tuple[str, str | None]:
    """Find what is wrong with a body.

    Args:
        body: not strict JSON.
        reason: what is known so far.

    Returns:
        The reason, more exactly where that is possible, and the field; None where there is none.

    """
    if len(body) > BYTES_MAX:
        return reason, None
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return f"it is not valid UTF-8 at byte {error.start}", None
    is_deep, field = _deep_field(text)
    if is_deep:
        named = "it" if field is None else f"'{field}'"
        return f"{named} {TooDeepError.reason.removeprefix('it ')}", field
    try:
        read = json.loads(text, parse_int=_decimal, parse_float=_decimal, parse_constant=_none)  # pyright: ignore[reportAny] - JSON
    except json.JSONDecodeError as error:
        return f"it is not valid JSON at line {error.lineno}, column {error.colno}", None
    for path, wrong in _faults(cast("_Read", read), ""):
        return (f"'{path}' {wrong}" if path else f"it has a value that {wrong}"), path or None
    return reason, None


def _deep_field(text: str) -> tuple[bool, str | None]:
    """Whether a text is nested too deeply, and in which of its fields."""
    depth, field = 0, None
    for token in _TOKEN.finditer(text):
        match token.group()[0]:
            case "[" | "{":
                depth += 1
                if depth > MAXIMUM_DEPTH:
                    return True, field
            case "]" | "}":
                depth -= 1
            case _ if depth == 1 and token.group(2):
                key = token.group(1)
                field = key if _NAME.fullmatch(key) else None
            case _:
                pass
    return False, None


def _faults(value: _Read, path: str) -> Iterator[tuple[str, str]]:
    """Yield where something cannot be represented, and what."""
    match value:
        case dict():
            for key, below in value.items():
                if _SURROGATE.search(key):
                    yield path, "has a key with half of a surrogate pair"
                    continue
                shown = _NAME.fullmatch(key) is not None
                inner = (f"{path}.{key}" if path else key) if shown else path
                yield from _faults(below, inner)
        case list():
            for number, below in enumerate(value):
                yield from _faults(below, f"{path}[{number}]")
        case str() if _SURROGATE.search(value):
            yield path, "has half of a surrogate pair (\\ud800 to \\udfff must come in pairs)"
        case _Number():
            yield path, value.value
        case _:
            pass


def _decimal(digits: str) -> float | _Number:
    number = float(digits)
    return _Number.HUGE if math.isinf(number) else number


def _none(_constant: str) -> _Number:
    return _Number.NONE
