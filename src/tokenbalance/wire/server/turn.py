"""One request and its response on a connection, between the parser and who responds.

    request     the parser brings its body; who responds receives what has arrived so far
    response    a head and a body are given to it; both leave in one write where they can, since a
                write costs as much as everything else that is done for a response
    ends        when the last bytes of the response are written, or the client is gone; a body that
                has not arrived whole by then makes the connection linger and close

Who responds gets the turn itself (`direct`), or ASGI's messages (`cycle`). Either is trusted to
send head, body and end in their order, but no header of theirs may become two. It must never read
from the connection, nor decide what follows on it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from tokenbalance.wire.server.response_head import write_head

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message

    from tokenbalance.wire.server.flow import FlowControl
    from tokenbalance.wire.server.uvicorn_interface import ServerState

    Headers = list[tuple[bytes, bytes]]

BODY_BYTES_MAX: Final = 64 * 1024
"""Of a request, kept before reading is paused; the read that exceeds it comes on top."""

_UNAUTHORIZED: Final = 401
_WITHOUT_BODY: Final = frozenset({204, 304})
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CLOSE: Final = (b"connection", b"close")
_CHUNKED: Final = (b"transfer-encoding", b"chunked")
_JOINED_BYTES_MAX: Final = 64 * 1024
"""Of a response's body; copying a longer one behind the head takes longer than a write."""

logger = logging.getLogger("uvicorn.error")


class Carrier(Protocol):
    """The connection that a response leaves on."""

    @property
    def transport(self) -> asyncio.Transport:
        """Takes what is written."""
        ...

    @property
    def flow(self) -> FlowControl:
        """Of the transport."""
        ...

    @property
    def server_state(self) -> ServerState:
        """Knows the headers of every response."""
        ...

    is_known: bool
    """A request was answered with something other than 401."""

    def close_after(self, turn: Turn) -> None:
        """End the connection behind what was written."""
        ...

    def response_ended(self) -> None:
        """Go on to the next request; the response is written to its end."""
        ...


class Turn:
    """A request, and its response as it is given to it."""

    __slots__ = (
        "_awaits_continue",
        "_body",
        "_bytes_left",
        "_connection",
        "_ends_by_closing",
        "_has_news",
        "_head",
        "_is_chunked",
        "_is_head",
        "_is_http_10",
        "_news",
        "body_arrived",
        "closes",
        "disconnected",
        "lingers",
        "response_complete",
        "response_started",
    )

    def __init__(
        self,
        connection: Carrier,
        method: str,
        version: str,
        *,
        closes: bool,
        expects_continue: bool,
    ) -> None:
        self.closes: bool = closes
        """The connection ends with this response."""
        self.disconnected: bool = False
        """The client is gone; what is sent goes nowhere."""
        self.response_started: bool = False
        self.response_complete: bool = False
        self.body_arrived: bool = False
        """The request is here to its end."""
        self.lingers: bool = False
        """The client may still be sending when the response has ended, whatever has arrived."""
        self._connection: Carrier = connection
        self._is_head: bool = method == "HEAD"
        self._is_http_10: bool = version == "1.0"
        self._awaits_continue: bool = expects_continue
        self._body: bytes | bytearray = b""
        self._has_news: bool = False
        self._news: asyncio.Event | None = None
        """Set when something has changed; None while nothing waits for it."""
        self._head: bytes = b""
        """Of the response, until it is written."""
        self._ends_by_closing: bool = False
        self._is_chunked: bool = False
        self._bytes_left: int = 0
        """Of a body with a length."""

    def respond(self, app: ASGIApp) -> Awaitable[None]:
        """Have it responded to, by the application unless there is somebody else."""
        del app
        raise NotImplementedError

    async def run(self, app: ASGIApp) -> None:
        """Let the application respond; whatever it does, the client is not left waiting."""
        try:
            await self.respond(app)
        except BaseException:  # Cancellation too: it comes from our own shutdown.
            logger.exception("Exception in ASGI application")
            await self._end_after_fault()
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("The application returned without completing its response.")
                await self._end_after_fault()

    async def _end_after_fault(self) -> None:
        if self.response_started:
            self._connection.close_after(self)
            return
        body = b"Internal Server Error"
        self.closes = True
        await self.writable()
        self.start(500, [(b"content-type", b"text/plain; charset=utf-8")], len(body))
        self.put(body, is_last=True)

    # The request.

    def feed_body(self, data: bytes) -> None:
        """Take a piece of the body; reading is paused when too much of it is kept."""
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > BODY_BYTES_MAX:
            self._connection.flow.pause_reading()
        self._notify()

    def feed_end(self) -> None:
        """Note that the body has arrived whole."""
        self.body_arrived = True
        self._notify()

    def disconnect(self) -> None:
        """Tell the application that its client is gone, whatever the socket says."""
        if not self.response_complete:
            self.disconnected = True
            self._notify()

    def take_whole(self) -> bytes | None:
        """Take the body, if it is here to its end and nobody waits for a word of ours before."""
        if not self.body_arrived or self.disconnected or self._awaits_continue:
            return None
        self._connection.flow.resume_reading()
        body, self._body = self._body, b""
        return bytes(body)

    async def receive(self) -> Message:
        """Wait for some of the body, or for the end of everything. Called by who responds."""
        if self._awaits_continue:
            self._continue()
        if not (self.disconnected or self.response_complete):
            self._connection.flow.resume_reading()
            if not self._has_news:
                await self._wait_for_news()
            self._has_news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": not self.body_arrived}

    def _continue(self) -> None:
        self._awaits_continue = False
        transport = self._connection.transport
        if not (self.response_started or transport.is_closing()):
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _wait_for_news(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        _ = await self._news.wait()

    def _notify(self) -> None:
        self._has_news = True
        if self._news is not None:
            self._news.set()
            self._news = None

    # The response.

    @property
    def must_wait(self) -> bool:
        """Whether the client must read before more is written; `put` writes whatever this says."""
        return self._connection.flow.is_writing_paused and not self.disconnected

    async def writable(self) -> None:
        """Wait until more can be written, or the client is gone."""
        if self.must_wait:
            await self._connection.flow.drain()

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin the response; its head leaves with the first of its body.

        Args:
            status: of the response.
            headers: none of them frames the body or is about the connection.
            length: of the body in bytes; None where nobody knows it yet, or there is none.

        Raises:
            RuntimeError: a header cannot be sent.

        """
        if length is not None:
            self._bytes_left = length
            # What a head that could not be sent had announced.
            self._is_chunked = False
            self._begin(status, [*headers, (b"content-length", b"%d" % length)], is_framed=True)
        else:
            self._begin(status, headers, is_framed=False)

    def _begin(self, status: int, headers: Headers, *, is_framed: bool) -> None:
        if self.disconnected:
            return
        sent = [*self._connection.server_state.default_headers, *headers]
        self.closes = self.closes or not self.body_arrived
        if not is_framed and not self._is_head and status not in _WITHOUT_BODY:
            self._frame_unknown_length(sent)
        if self.closes:
            sent.append(_CLOSE)
        if status != _UNAUTHORIZED:
            self._connection.is_known = True
        self._head = write_head(status, sent)
        self.response_started = True

    def _frame_unknown_length(self, headers: Headers) -> None:
        """Send the body in chunks; to HTTP/1.0, which has none, until the connection closes."""
        # RFC 9112 section 6.1.
        if self._is_http_10:
            self.closes = self._ends_by_closing = True
        else:
            self._is_chunked = True
            headers.append(_CHUNKED)

    def put(self, body: bytes, *, is_last: bool) -> None:
        """Write a piece of the body at once, behind the head if that is still here.

        Raises:
            RuntimeError: it is not what the head had promised, or the response is complete.

        """
        if self.disconnected:
            return
        if self.response_complete:
            msg = "the response is complete, nothing can follow it"
            raise RuntimeError(msg)
        framed = self._framed(body, is_last=is_last)
        head, self._head = self._head, b""
        transport = self._connection.transport
        if len(framed) > _JOINED_BYTES_MAX:
            if head:
                transport.write(head)
            transport.write(framed)
        elif head or framed:
            transport.write(head + framed)
        if is_last:
            self._complete()

    def break_off(self) -> None:
        """End the response before its end, so that the client sees that some of it is missing."""
        if self.disconnected or self.response_complete:
            return
        self.response_complete = self.closes = True
        self._notify()
        self._connection.close_after(self)

    def _framed(self, body: bytes, *, is_last: bool) -> bytes:
        if self._is_head:
            self._bytes_left = 0
            return b""
        if self._is_chunked:
            end = _LAST_CHUNK if is_last else b""
            return b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end
        if self._ends_by_closing:
            return body
        self._bytes_left -= len(body)
        if self._bytes_left < 0:
            msg = "the response is longer than its content-length"
            raise RuntimeError(msg)
        return body

    def _complete(self) -> None:
        if self._bytes_left != 0:
            msg = "the response is shorter than its content-length"
            raise RuntimeError(msg)
        self.response_complete = True
        self._notify()
        if self.closes:
            self._connection.close_after(self)
        self._connection.response_ended()
