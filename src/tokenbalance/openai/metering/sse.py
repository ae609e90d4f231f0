"""One complete server-sent event: its fields, and how to cut usage out of it.

The format is the HTML standard's, section 9.2.6. Bytes are cut out, never re-encoded.

What `include_usage` adds is known by its shape: `"usage":null` in every chunk, and a last one with
usage and no content. Usage next to a choice with content comes from a server that reports it
without being asked; it stays.
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
# A line ends with CRLF, LF or CR; the atomic group keeps CRLF from counting as two.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
BETWEEN_EVENTS = re.compile(rb"(?:(?::[^\r\n]*)?(?:\r\n|\n|\r))+")
"""Blank lines, and comments such as `: keep-alive`, which belong to no event."""
_JSON_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")


class DataLine(NamedTuple):
    """The span of the value of one `data` field in its event."""

    start: int
    end: int


def begins_events(body: bytes) -> bool | None:
    """Whether a body with this beginning consists of events; None if that is not yet known.

    A JSON document does not: its first line is not a field. Nor does an HTML page.
    """
    start = body.removeprefix(BOM).lstrip(_SPACE)
    if _EVENTS_BEGIN.match(start) is not None:
        return True
    return None if any(name.startswith(start) for name in _FIELD_NAMES) else False


def fields(event: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, and start and end of the value, of each field of an event."""
    start = len(BOM) if event.startswith(BOM) else 0
    for line in event[start:].splitlines(keepends=True):
        end = start + len(line)
        body = line.rstrip(b"\r\n")
        name, _, value = body.partition(b":")
        space = value.startswith(b" ")
        yield name, start + len(body) - len(value) + space, start + len(body)
        start = end


def data_lines(event: bytes) -> list[DataLine]:
    """Return the spans of an event's `data` fields; together they are its data."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2:
        return [DataLine(6, len(event) - 2)]
    return [DataLine(start, end) for name, start, end in fields(event) if name == b"data"]


def data_of(event: bytes) -> bytes:
    """Return the data of an event."""
    return b"\n".join([event[start:end] for start, end in data_lines(event)])


def end_of_event(buffer: bytearray, start: int) -> int:
    """Return where the first event in a buffer ends, searched from `start` on; -1 if nowhere."""
    if buffer.find(b"\r", start) < 0:
        end = buffer.find(b"\n\n", start)
        return end + 2 if end >= 0 else -1
    found = _EVENT_END.search(buffer, start)
    return found.end() if found is not None else -1


def document_of(data: bytes) -> Document:
    """Parse an object; return an empty one for anything else."""
    try:
        value = cast("Json", orjson.loads(data))
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def event_name(event: bytes) -> str:
    """Return the event's `event` field; empty if it has none."""
    if event.find(b"event") < 0:
        return ""
    names = [event[start:end] for name, start, end in fields(event) if name == b"event"]
    return names[-1].decode("ascii", "replace") if names else ""


def without_usage(event: bytes, data: bytes, lines: list[DataLine], document: Document) -> bytes:
    """Return an event without what `include_usage` added to it."""
    if is_usage_only(document):
        return b""
    if document["usage"] is not None:
        return event
    if len(lines) == 1 and data.endswith(b',"usage":null}'):
        # The brace ends a valid document, so this is a member of the outermost object.
        end = lines[0].end - 1
        return event[: end - len(b',"usage":null')] + event[end:]
    found = trailing_usage(data)
    if found is None:
        return event
    start, end = _member_span(data, found[0])
    return _cut(event, lines, start, end)


def is_usage_only(document: Document) -> bool:
    """Whether a chunk reports usage and has no choice with content."""
    return isinstance(document.get("usage"), dict) and says_nothing(document.get("choices"))


def _member_span(data: bytes, start: int) -> tuple[int, int]:
    """Return the span of a null member whose key is at `start`, with one comma next to it."""
    end = data.index(b"null", start) + len(b"null")
    before = len(data[:start].rstrip(_SPACE))
    if data[before - 1 : before] == b",":
        return before - 1, end
    comma = _JSON_COMMA.match(data, end)
    return start, comma.end() if comma is not None else end


def _cut(event: bytes, lines: list[DataLine], start: int, end: int) -> bytes:
    """Cut a span of the joined data out of its lines."""
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
