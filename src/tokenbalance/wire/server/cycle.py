"""One request and its answer on a connection: uvicorn's cycle, with the answer's framing our own.

The head leaves with the first bytes of the body, in one write: a write of its own takes as long as
all else that is done for it. Applications are trusted to speak ASGI in its order, but no header of
theirs may become two, whatever it was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent

_WITHOUT_BODY: Final = frozenset({204, 304})
_LAST_CHUNK: Final = b"0\r\n\r\n"
_JOINED_BYTES_MAX: Final = 64 * 1024
"""Of a body; to copy a longer one takes longer than a write."""


class Cycle(RequestResponseCycle):
    """A request, and its answer as the application sends it."""

    _head: bytes = b""
    """The answer's, until it is written."""

    @override
    async def send(self, message: ASGISendEvent) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            msg = "the answer is complete, nothing can follow it"
            raise RuntimeError(msg)
        if self.response_started:
            self._continue(cast("HTTPResponseBodyEvent", message))
        else:
            self._start(cast("HTTPResponseStartEvent", message))

    def _start(self, message: HTTPResponseStartEvent) -> None:
        status = message["status"]
        lines = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *message.get("headers", ())):
            if self._obey(name.lower(), value):
                lines.append(b"%s: %s\r\n" % (name, value))
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        has_body = self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY
        if self.chunked_encoding is None and has_body:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines) or b"\0" in head:
            msg = "a header of the answer has a line break or a NUL"
            raise RuntimeError(msg)
        if self.access_log:
            self._tell(status)
        self._head = head
        self.response_started = True
        self.waiting_for_100_continue = False

    def _tell(self, status: int) -> None:
        """Write uvicorn's access log, for whoever listens to it."""
        self.access_logger.info(
            '%s - "%s %s HTTP/%s" %d',
            get_client_addr(self.scope),
            self.scope["method"],
            get_path_with_query_string(self.scope),
            self.scope["http_version"],
            status,
        )

    def _obey(self, name: bytes, value: bytes) -> bool:
        """Frame the body as the application's own header says; tell whether to send it."""
        if name == b"content-length":
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding":
            self.chunked_encoding = value.lower() == b"chunked"
        elif name == b"connection":
            self.keep_alive = self.keep_alive and value.lower() != b"close"
            # Only this goes with a field that the application sends too (RFC 9110 section 7.8).
            return value.lower() == b"upgrade"
        return True

    def _continue(self, message: HTTPResponseBodyEvent) -> None:
        is_last = not message.get("more_body", False)
        framed = self._framed(message.get("body", b""), is_last=is_last)
        head, self._head = self._head, b""
        if len(framed) > _JOINED_BYTES_MAX:
            self.transport.write(head)
            self.transport.write(framed)
        elif head or framed:
            self.transport.write(head + framed)
        if is_last:
            self._complete()

    def _framed(self, body: bytes, *, is_last: bool) -> bytes:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            return b""
        if not self.chunked_encoding:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                msg = "the answer is longer than its content-length"
                raise RuntimeError(msg)
            return body
        end = _LAST_CHUNK if is_last else b""
        return b"%x\r\n%s\r\n%s" % (len(body), body, end) if body else end

    def _complete(self) -> None:
        if self.expected_content_length != 0:
            msg = "the answer is shorter than its content-length"
            raise RuntimeError(msg)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
