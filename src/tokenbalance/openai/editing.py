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

from tokenbalance.openai.documents import MAXIMUM_DEPTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Json

# All of it is possessive: a valid document is matched in one pass, whatever it contains.
_SPACE: Final = rb"[ \t\r\n]*+"
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR: Final = rb"[-+.0-9A-Za-z]++"
_OPENING: Final = re.compile(_SPACE + rb"\{" + _SPACE)


def with_members(source: bytes, document: Mapping[str, Json], members: Mapping[str, Json]) -> bytes:
    """Return the `source` of `document` with these `members` set; an object is merged into one.

    The same bytes if there is nothing to set. Linear in the length of the source.
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
        pieces += (source[position:start], text)
        position = end
    return b"".join([*pieces, source[position:]])


def _value_span(source: bytes, name: str) -> tuple[int, int]:
    """Return start and end of the value of the member `name`, which the outermost object has."""
    found = _member(name).match(source)
    if found is None:
        message = "the source is not that of the document"
        raise ValueError(message)
    return found.span(1)


@cache
def _member(name: str) -> re.Pattern[bytes]:
    """Match the source of an object up to the value of its member `name`, which is the group."""
    key = rb'"' + b"".join(_spellings(character) for character in name) + rb'"'
    value = rb"(?:" + _STRING + rb"|" + _SCALAR + rb"|" + _container() + rb")"
    colon = _SPACE + rb":" + _SPACE
    other = rb"(?!" + key + rb")" + _STRING + colon + value + _SPACE + rb"," + _SPACE
    return re.compile(
        _OPENING.pattern + rb"(?:" + other + rb")*+" + key + colon + rb"(" + value + rb")",
        re.DOTALL,
    )


def _spellings(character: str) -> bytes:
    """Match a character of a name, plain or escaped."""
    code = "".join(
        digit if digit.isdigit() else f"[{digit}{digit.upper()}]"
        for digit in f"{ord(character):04x}"
    )
    return rb"(?:" + re.escape(character).encode() + rb"|\\u" + code.encode() + rb")"


def _container() -> bytes:
    """Match an object or an array, as deep as a document may be, by its brackets alone."""
    pattern = b""
    for _ in range(MAXIMUM_DEPTH):
        within = rb'[^"\[\]{}]++|' + _STRING + (rb"|" + pattern if pattern else b"")
        pattern = rb"[\[{](?:" + within + rb")*+[\]}]"
    return pattern
