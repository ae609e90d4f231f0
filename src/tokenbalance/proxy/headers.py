"""What is read of an answer's head: whether it is a stream of events."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]


def is_event_stream(headers: Headers) -> bool:
    """Tell whether an answer is a stream of server-sent events."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )
