"""One server-sent event, whole: its fields, and how to take usage out of it byte by byte.

The format is the HTML standard's, section 9.2.6. Bytes are cut out, never written anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson

from tokenbalance.usage import trailing_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json

BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"

# A string, a bracket, or anything else that is no punctuation or space: a number, a null.
_JSON_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^ \t\r\n:,"{}\[\]]+')
_OPENING = frozenset({b"{", b"["})
_CLOSING = frozenset({b"}", b"]"})
_JSON_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")


class DataLine(NamedTuple):
    """Where the value of one `data` field stands in its event."""

    start: int
    end: int


def fields(event: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, and start and end of the value, of each field of an event."""
    start = len(BOM) if event.startswith(BOM) else 0
    for line in event[start:].splitlines(keepends=True):
        end = start + len(line)
        body = line.rstrip(b"\r\n")
        name, _, value = body.partition(b":")
        space = value.startswith(b" ")
        yield name, start + len(body) - len(value) + space, start + len(body)
        start = end


def data_lines(event: bytes) -> list[DataLine]:
    """Find the values of an event's `data` fields; together they are its data."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return [DataLine(6, len(event) - 2)]
    return [DataLine(start, end) for name, start, end in fields(event) if name == b"data"]


def document_of(data: bytes) -> Document:
    """Parse an object; anything else is an empty one."""
    try:
        value = cast("Json", orjson.loads(data))
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def event_name(event: bytes) -> str:
    """Read the event's own `event` field; empty when it has none."""
    if event.find(b"event") < 0:
        return ""
    names = [event[start:end] for name, start, end in fields(event) if name == b"event"]
    return names[-1].decode("ascii", "replace") if names else ""


def without_usage(event: bytes, data: bytes, lines: list[DataLine], document: Document) -> bytes:
    """Take out of an event what `include_usage` put there."""
    if document.get("choices") == [] and isinstance(document.get("usage"), dict):
        return b""
    if len(lines) == 1 and data.endswith(b',"usage":null}'):
        # The brace ends a valid document, so the member is its own.
        end = lines[0].end - 1
        return event[: end - len(b',"usage":null')] + event[end:]
    found = trailing_usage(data)
    if found is None:
        return event
    start, end = _member_span(data, found[0])
    return _cut(event, lines, start, end)


def _member_span(data: bytes, start: int) -> tuple[int, int]:
    """Where a member stands whose key is at `start`, with the one comma that goes with it."""
    end = _value_end(data, start + len(b'"usage"'))
    before = len(data[:start].rstrip(_SPACE))
    if data[before - 1 : before] == b",":
        return before - 1, end
    comma = _JSON_COMMA.match(data, end)
    return start, comma.end() if comma is not None else end


def _value_end(data: bytes, start: int) -> int:
    """Where the value of a valid document ends that begins after the colon at `start`."""
    depth = 0
    for token in _JSON_TOKEN.finditer(data, start):
        depth += (token[0] in _OPENING) - (token[0] in _CLOSING)
        if depth == 0:
            return token.end()
    return start


def _cut(event: bytes, lines: list[DataLine], start: int, end: int) -> bytes:
    """Cut a span of the joined data out of the lines it stands in."""
    kept: list[bytes] = []
    done = offset = 0
    for line in lines:
        length = line.end - line.start
        first = line.start + min(max(start - offset, 0), length)
        last = line.start + min(max(end - offset, 0), length)
        kept.append(event[done:first])
        done = last
        offset += length + 1
    kept.append(event[done:])
    return b"".join(kept)
