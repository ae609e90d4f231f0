"""One server-sent event, whole: its fields, and how to take usage out of it byte by byte.

The format is the HTML standard's, section 9.2.6. Bytes are cut out, never written anew.

What `include_usage` brings is known by its shape: `"usage":null` in every chunk, and a last one
that has usage and nothing else to say. Usage beside a choice that says something is of a server
that reports it whether asked or not; it stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson

from tokenbalance.openai.metering.outcome import says_nothing
from tokenbalance.openai.metering.usage import trailing_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json

BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"

_EVENTS_BEGIN = re.compile(rb"(?:data|event|id|retry)?:")
_FIELD_NAMES = (b"data:", b"event:", b"id:", b"retry:")
_JSON_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")


class DataLine(NamedTuple):
    """Where the value of one `data` field stands in its event."""

    start: int
    end: int


def begins_events(body: bytes) -> bool | None:
    """Whether a body that begins like this is one of events; None where that is yet to be seen.

    A JSON document never is: its first line is no field, nor is that of a page.
    """
    start = body.removeprefix(BOM).lstrip(_SPACE)
    if _EVENTS_BEGIN.match(start) is not None:
        return True
    return None if any(name.startswith(start) for name in _FIELD_NAMES) else False


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
    if is_usage_only(document):
        return b""
    if document["usage"] is not None:
        return event
    if len(lines) == 1 and data.endswith(b',"usage":null}'):
        # The brace ends a valid document, so the member is its own.
        end = lines[0].end - 1
        return event[: end - len(b',"usage":null')] + event[end:]
    found = trailing_usage(data)
    if found is None:
        return event
    start, end = _member_span(data, found[0])
    return _cut(event, lines, start, end)


def is_usage_only(document: Document) -> bool:
    """Whether a chunk reports usage and has no choice that says anything."""
    return isinstance(document.get("usage"), dict) and says_nothing(document.get("choices"))


def _member_span(data: bytes, start: int) -> tuple[int, int]:
    """Where a null member stands whose key is at `start`, with the one comma that goes with it."""
    end = data.index(b"null", start) + len(b"null")
    before = len(data[:start].rstrip(_SPACE))
    if data[before - 1 : before] == b",":
        return before - 1, end
    comma = _JSON_COMMA.match(data, end)
    return start, comma.end() if comma is not None else end


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
