"""What a scripted upstream responds with: a body in parts, its framing, and what goes wrong."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import orjson

if TYPE_CHECKING:
    from tests.support.recordings import Recording
    from tokenbalance.model import Json

HeaderList: TypeAlias = Sequence[tuple[str | bytes, str | bytes]]


class Gate:
    """Holds an answer back until the test says go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set when everything before the gate has been written."""
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let the answer go on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Wait at the gate."""
        self.reached.set()
        await self._opened.wait()


Part: TypeAlias = bytes | Gate | float
"""Of a body: bytes are written, a gate is waited at, a float is seconds of silence."""


class Framing(enum.Enum):
    """How the client learns where the body ends."""

    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "the connection closes"
    NONE = "no body at all, as for 204"


@dataclass(frozen=True)
class Response:
    """What one request gets."""

    status: int = 200
    headers: HeaderList = (("content-type", "application/json"),)
    body: bytes | Sequence[Part] = b"{}"
    framing: Framing | None = None
    """By default the length for bytes, and chunked for a list of parts."""
    head_gate: Gate | None = None
    """Holds even the status back."""
    cut_after: int | None = None
    """Drop the connection after that many bytes of body."""
    reset: bool = False
    """Cut with a TCP reset instead of an orderly close."""
    close: bool = False
    """Close the connection after the answer instead of keeping it alive."""
    raw: bytes | Sequence[Part] | None = None
    """Write this instead of any HTTP of ours, then close."""

    @property
    def parts(self) -> Sequence[Part]:
        """The body in order."""
        return [self.body] if isinstance(self.body, bytes) else self.body

    @property
    def framed(self) -> Framing:
        """The framing, decided."""
        if self.framing is not None:
            return self.framing
        return Framing.LENGTH if isinstance(self.body, bytes) else Framing.CHUNKED


def json_response(document: Json, status: int = 200) -> Response:
    """An answer of one JSON document."""
    return Response(status=status, body=orjson.dumps(document))


def event_stream(*parts: Part, headers: HeaderList = ()) -> Response:
    """An answer of server-sent events, one part after the other."""
    content_type = ("content-type", "text/event-stream; charset=utf-8")
    return Response(headers=(content_type, *headers), body=list(parts))


def replay(recording: Recording, split_at: Sequence[int] = ()) -> Response:
    """A recorded exchange's answer; `split_at` cuts its body into chunks at these positions."""
    body = recording.response_body
    edges = [0, *split_at, len(body)]
    parts = [body[start:end] for start, end in pairwise(edges)]
    return Response(
        status=recording.status,
        headers=tuple(recording.response_headers.items()),
        body=parts if split_at or recording.streamed else body,
    )
