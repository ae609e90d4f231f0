"""One HTTP/1.1 response: bytes in, head and body out. No I/O.

    head      interim ones (1xx) are skipped; 101 is refused, since no upgrade was requested
    body      of a given length, in chunks, or until the connection closes; none after HEAD, 204
              and 304. Trailers are dropped
    the rest  bytes behind a response belong to no request: the connection is spent

llhttp, the parser inside httptools, checks the syntax. Added here are limits, and what it leaves to
its callers: the end of a connection, and codings that were not requested. It must never look at
what a body says. Each response has a reader of its own, so that nothing left over from the one
before can be taken for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.wire.upstream.client import Headers

HEAD_BYTES_MAX: Final = 64 * 1024
"""Of all heads of one response, interim ones included."""
HEAD_FIELDS_MAX: Final = 256
OVERHEAD_BYTES_MAX: Final = 64 * 1024
"""Sizes, extensions and trailers of chunks without a byte of body in between."""

_SWITCHING_PROTOCOLS: Final = 101
_FINAL_STATUS_MIN: Final = 200
_STATUS_MAX: Final = 599
"""RFC 9110 section 15: a higher status is invalid, and cannot be relayed."""
_CODING: Final = b"transfer-encoding"
_LINE_ENDS: Final = frozenset({b"\r", b"\n"})
_LAST_CHUNK: Final = b"0\r\n\r\n"
_BODILESS: Final = frozenset({204, 304})


class BadResponse(Exception):
    """The bytes are not a valid HTTP/1.1 response, or exceed a limit."""


class ResponseReader:
    """Reads one response."""

    __slots__ = (
        "_head_room",
        "_is_chunked",
        "_is_interim",
        "_lasts_until_close",
        "_overhead",
        "_parser",
        "_pieces",
        "_wants_body",
        "ended",
        "has_head",
        "headers",
        "is_reusable",
        "on_body",
        "status",
        "unread_bytes",
    )

    def __init__(self, *, wants_body: bool = True) -> None:
        self.status: int = 0
        self.headers: Headers = []
        """Names in lower case."""
        self.has_head: bool = False
        self.ended: bool = False
        """All of it has arrived, read or not."""
        self.is_reusable: bool = False
        """Another request may follow on the connection; valid after the end."""
        self.unread_bytes: int = 0
        """Of the body."""
        self._wants_body: bool = wants_body
        self._is_interim: bool = False
        self._is_chunked: bool = False
        self._lasts_until_close: bool = False
        self._head_room: int = HEAD_BYTES_MAX
        self._overhead: int = 0
        self._pieces: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._pieces.append
        """Called by httptools with each piece of the body; one read may bring hundreds."""
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        # Two habits of upstreams that are harmless to a reader of one response.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    @property
    def promises_success(self) -> bool:
        """Whether the first line starts like a 2xx; the rest of the head may be missing."""
        return str(self._parser.get_status_code()).startswith("2")

    @property
    def has_unread(self) -> bool:
        """Whether some of the body can be taken."""
        return bool(self._pieces)

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Raises:
            BadResponse: it is invalid from here on. What came before can still be taken.

        """
        self._overhead += len(data)
        if self.has_head:
            self._parse(data)
        else:
            self._feed_head(data)
        if self._overhead > OVERHEAD_BYTES_MAX:
            raise BadResponse("too much besides the body")

    def feed_end(self) -> None:
        """Note that nothing more will come.

        Raises:
            BadResponse: the response is not complete.

        """
        if self._lasts_until_close:
            self.ended = True
        elif not self.ended:
            raise BadResponse("ended early")

    def take(self) -> bytes:
        """Return the part of the body that has arrived since; it may be empty."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.unread_bytes = 0
        return data

    def release(self) -> None:
        """Drop the parser, since the two refer to each other; nothing can be fed afterwards."""
        del self._parser

    def _feed_head(self, data: bytes) -> None:
        room = self._head_room
        self._head_room = room - len(data)
        self._parse(data[:room])
        if self.has_head:
            if len(data) > room:
                self._parse(data[room:])
        elif len(data) >= room:
            raise BadResponse("an endless head")

    def _parse(self, data: bytes) -> None:
        known = len(self._pieces)
        try:
            if data[-1:] in _LINE_ENDS and not (self._is_chunked and data.endswith(_LAST_CHUNK)):
                self._feed_but_last(data)
            else:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.ended:
                raise BadResponse(str(error)) from error
            # Bytes behind a response are not part of it.
            self.is_reusable = False
        self._count_body(known)

    def _feed_but_last(self, data: bytes) -> None:
        """Find line ends behind the response, which the parser skips silently."""
        self._parser.feed_data(data[:-1])
        if self.ended:
            self.is_reusable = False
        else:
            self._parser.feed_data(data[-1:])

    def _count_body(self, known: int) -> None:
        """Count the new pieces."""
        pieces = self._pieces
        if not self._wants_body:
            pieces.clear()
        elif len(pieces) > known:
            self._overhead = 0
            self.unread_bytes += sum(map(len, pieces[known:]))

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Refuse a second response."""
        if self.ended:
            raise BadResponse("more than one response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, or of the trailers."""
        if not self.has_head:
            self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        """Check a complete head."""
        status = self._parser.get_status_code()
        if status < _FINAL_STATUS_MIN:
            if status == _SWITCHING_PROTOCOLS:
                raise BadResponse("a change of protocol")
            self._is_interim = True
            return
        if status > _STATUS_MAX:
            raise BadResponse("an invalid status")
        self._check_head(status, dict(self.headers))
        self.status = status
        self.has_head = True
        self.ended = not self._wants_body

    def on_message_complete(self) -> None:
        """Note that the response is complete, or the interim one before it."""
        if self._is_interim:
            self._is_interim = False
            self.headers.clear()
            return
        self.ended = True
        self.is_reusable = self._parser.should_keep_alive()

    def _check_head(self, status: int, fields: dict[bytes, bytes]) -> None:
        if len(self.headers) > HEAD_FIELDS_MAX:
            raise BadResponse("too many headers")
        coding = fields.get(_CODING)
        if coding is None:
            self._lasts_until_close = b"content-length" not in fields and status not in _BODILESS
            return
        if len(fields) < len(self.headers):
            # Repeated fields are one list (RFC 9110 section 5.3).
            coding = b", ".join(value for name, value in self.headers if name == _CODING)
        if coding.lower() != b"chunked":
            raise BadResponse("a transfer coding that was not requested")
        self._is_chunked = True
