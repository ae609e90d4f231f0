"""Sets members of a JSON object in its source; all other bytes stay as they are.

Only for the source of an object that `parse_document` has accepted: it is not checked again. The
client's bytes are never parsed and re-encoded, since that could change their meaning: a number of
twenty digits would lose some of them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.openai.json_text import (
    COLON,
    COMMA,
    PIECE_BYTES,
    SPACE,
    STRING,
    VALUE,
    after_space,
    after_text,
    after_value,
    compiled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Json

_CANDIDATES_MAX: Final = 4
"""Strings that are spelled like a key and are none, before all members are gone through."""
_OPENING: Final = compiled(SPACE + rb"\{" + SPACE)


def with_members(source: bytes, document: Mapping[str, Json], members: Mapping[str, Json]) -> bytes:
    """Return the `source` of `document` with these `members` set; an object is merged into one.

    The same bytes if there is nothing to set. Linear in the length of the source: one that is
    longer than PIECE_BYTES belongs in a thread.
    """
    if not members:
        return source
    added: list[bytes] = []
    replaced: list[tuple[int, int, bytes]] = []
    for name, value in members.items():
        if name not in document:
            added.append(orjson.dumps(name) + b":" + orjson.dumps(value))
        else:
            start, end = _value_span(source, name)
            replaced.append((start, end, _edited(source[start:end], document[name], value)))
    return _spliced(source, [*_insertion(source, document, added), *sorted(replaced)])


def _edited(source: bytes, there: Json, value: Json) -> bytes:
    if isinstance(value, dict) and isinstance(there, dict):
        return with_members(source, there, value)
    return orjson.dumps(value)


def _insertion(
    source: bytes, document: Mapping[str, Json], added: list[bytes]
) -> list[tuple[int, int, bytes]]:
    """Return what is inserted right after the opening brace."""
    opening = _OPENING.match(source)
    if not added or opening is None:
        return []
    last = b"," if document else b""
    return [(opening.end(), opening.end(), b",".join(added) + last)]


def _spliced(source: bytes, splices: list[tuple[int, int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for start, end, text in splices:
        pieces += (*_cut(source, position, start), text)
        position = end
    return b"".join([*pieces, *_cut(source, position, len(source))])


def _cut(source: bytes, start: int, end: int) -> list[bytes]:
    """Copy a part of the source in pieces, which are joined without keeping the loop waiting."""
    return [source[at : min(at + PIECE_BYTES, end)] for at in range(start, end, PIECE_BYTES)]


def _value_span(source: bytes, name: str) -> tuple[int, int]:
    """Return start and end of the value of the member `name`, which the outermost object has."""
    after_key = _after_plain_key(source, name) or _after_any_key(source, name)
    start = after_space(source, after_space(source, after_key) + 1)
    return start, after_value(source, start)


def _after_plain_key(source: bytes, name: str) -> int | None:
    """Return where the key of a member of the outermost object ends; None if that takes a walk.

    A quote without a backslash before it and a letter after it begins a string. It is a key of the
    outermost object exactly if the source is an object without all that is before it, and equally
    if it is one without all that is after it. The shorter of both is parsed.
    """
    if len(source) > PIECE_BYTES:
        return None
    key = b'"%b"' % name.encode()
    at = len(source)
    for _ in range(_CANDIDATES_MAX):
        at = source.rfind(key, 0, at)
        if at < 0:
            return None
        if source[at - 1 : at] == b"\\":
            continue
        is_early = at < len(source) // 2
        if _is_object(source[:at] + b'"":0}' if is_early else b"{" + source[at:]):
            return at + len(key)
    return None


def _is_object(source: bytes) -> bool:
    try:
        return isinstance(orjson.loads(source), dict)
    except orjson.JSONDecodeError:
        return False


def _after_any_key(source: bytes, name: str) -> int:
    """Return where the key of a member ends, however it is spelled, member by member."""
    opening = _OPENING.match(source)
    at = 0 if opening is None else opening.end()
    key = _key(name)
    while at < len(source):
        found = _others(name).match(source, at, at + PIECE_BYTES)
        at = after_space(source, at if found is None else found.end())
        end_of_key = after_text(source, at)
        if key.fullmatch(source, at, end_of_key):
            return end_of_key
        start = after_space(source, after_space(source, end_of_key) + 1)
        end = after_value(source, start)
        at = after_space(source, after_space(source, end) + 1)
    message = "the source is not that of the document"
    raise ValueError(message)


@cache
def _others(name: str) -> re.Pattern[bytes]:
    """Match members of an object as far as one called `name`, with the commas after them."""
    other = rb"(?!" + _key(name).pattern + rb")" + STRING + COLON + VALUE + COMMA
    return compiled(rb"(?:" + other + rb")*+")


@cache
def _key(name: str) -> re.Pattern[bytes]:
    return compiled(rb'"' + b"".join(_spellings(character) for character in name) + rb'"')


def _spellings(character: str) -> bytes:
    """Match a character of a name, plain or escaped."""
    code = "".join(
        digit if digit.isdigit() else f"[{digit}{digit.upper()}]"
        for digit in f"{ord(character):04x}"
    )
    return rb"(?:" + re.escape(character).encode() + rb"|\\u" + code.encode() + rb")"
