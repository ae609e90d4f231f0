"""One request and its response on a connection, between the parser and the application.

    request     the parser brings its body; the application receives what has arrived so far
    response    the application sends its head and its body; both leave in one write where they can,
                since a write costs as much as everything else that is done for a response
    ends        when the last bytes of the response are written, or the client is gone; a body that
                has not arrived whole by then makes the connection linger and close

Applications are trusted to send ASGI messages in their order, but no header of theirs may become
two. It must never read from the connection, nor decide what follows on it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol, cast

from tokenbalance.wire.server.response_head import write_head

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Scope

    from tokenbalance.wire.server.flow import FlowControl
    from tokenbalance.wire.server.uvicorn_interface import ServerState

BODY_BYTES_MAX: Final = 64 * 1024
"""Of a request, kept before reading is paused; the read that exceeds it comes on top."""

_UNAUTHORIZED: Final = 401
_WITHOUT_BODY: Final = frozenset({204, 304})
_FRAMING: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})
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

    def close_after(self, cycle: Cycle) -> None:
        """End the connection behind what was written."""
        ...

    def response_ended(self) -> None:
        """Go on to the next request; the response is written to its end."""
        ...


class Cycle:
    """A request, and its response as the application sends it."""

    __slots__ = (
        "_awaits_continue",
        "_body",
        "_bytes_left",
        "_connection",
        "_ends_by_closing",
        "_has_news",
        "_head",
        "_is_chunked",
        "_news",
        "body_arrived",
        "closes",
        "disconnected",
        "lingers",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(
        self, connection: Carrier, scope: Scope, *, closes: bool, expects_continue: bool
    ) -> None:
        self.scope: Scope = scope
        self.closes: bool = closes
        """The connection ends with this response."""
        self.disconnected: bool = False
        """The client is gone; what the application sends goes nowhere."""
        self.response_started: bool = False
        self.response_complete: bool = False
        self.body_arrived: bool = False
        """The request is here to its end."""
        self.lingers: bool = False
        """The client may still be sending when the response has ended, whatever has arrived."""
        self._connection: Carrier = connection
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

    async def run(self, app: ASGIApp) -> None:
        """Let the application respond; whatever it does, the client is not left waiting."""
        try:
            await app(self.scope, self.receive, self.send)
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
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            _CLOSE,
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

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

    async def receive(self) -> Message:
        """Wait for some of the body, or for the end of everything. Called by the application."""
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

    async def send(self, message: Message) -> None:
        """Send the head, or a piece of the body. Called by the application.

        Raises:
            RuntimeError: it is not what the head had promised, or the head cannot be sent.

        """
        flow = self._connection.flow
        if flow.is_writing_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            msg = "the response is complete, nothing can follow it"
            raise RuntimeError(msg)
        if self.response_started:
            self._send_body(message)
        else:
            self._start(message)

    def _start(self, message: Message) -> None:
        status = cast("int", message["status"])
        headers = [*self._connection.server_state.default_headers]
        self.closes = self.closes or not self.body_arrived
        has_framing = False
        for header in cast("Iterable[tuple[bytes, bytes]]", message.get("headers", ())):
            name = header[0].lower()
            if name in _FRAMING:
                has_framing = has_framing or name != b"connection"
                if not self._obey(name, header[1]):
                    continue
            headers.append(header)
        if not has_framing and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self._frame_unknown_length(headers)
        if self.closes:
            headers.append(_CLOSE)
        if status != _UNAUTHORIZED:
            self._connection.is_known = True
        self._head = write_head(status, headers)
        self.response_started = True

    def _frame_unknown_length(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the body in chunks; to HTTP/1.0, which has none, until the connection closes."""
        # RFC 9112 section 6.1.
        if self.scope.get("http_version") == "1.0":
            self.closes = self._ends_by_closing = True
        else:
            self._is_chunked = True
            headers.append(_CHUNKED)

    def _obey(self, name: bytes, value: bytes) -> bool:
        """Frame the response as the application's own header says; whether to send that header."""
        if name == b"content-length":
            self._bytes_left = int(value)
            self._is_chunked = False
        elif name == b"transfer-encoding":
            self._is_chunked = value.lower() == b"chunked"
        else:
            self.closes = self.closes or value.lower() == b"close"
            # Only this one goes with a field that the application sends (RFC 9110 section 7.8).
            return value.lower() == b"upgrade"
        return True

    def _send_body(self, message: Message) -> None:
        is_last = not message.get("more_body", False)
        framed = self._framed(cast("bytes", message.get("body", b"")), is_last=is_last)
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

    def _framed(self, body: bytes, *, is_last: bool) -> bytes:
        if self.scope["method"] == "HEAD":
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
