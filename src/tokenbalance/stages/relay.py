"""What is read of, and changed in, what passes: whether an answer is a stream, a body's edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

Headers = list[tuple[bytes, bytes]]


def is_event_stream(headers: Headers) -> bool:
    """Tell whether an answer is a stream of server-sent events."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )


def edited_body(body: bytes, document: Document, edits: dict[str, Json]) -> bytes:
    """Return the original bytes when nothing has to change, else the document with its edits."""
    return orjson.dumps(document | edits) if edits else body
