"""The requests of one connection: bytes in, heads and bodies out. No I/O.

Owns where a request begins and ends. Two parties that disagree on that can be played against each
other (request smuggling), so whatever is ambiguous is refused. It must never look at keys, paths
or bodies.

What llhttp, the parser inside httptools, refuses by itself: Content-Length together with
Transfer-Encoding, repeated or malformed lengths, codings it cannot frame, space before a colon,
folded lines, bare LF, control characters, lower-case methods, chunk sizes that overflow. What
`request_head` adds is listed there. Added here:

    head       no end within 64 KiB
    body       more than 8 KiB of chunk extensions and trailers; trailers are read and dropped,
               never made headers
    Upgrade    has no effect, and the body is still read: see `_upgrade`
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from tokenbalance.errors import InvalidRequest, MalformedTarget, ProxyError
from tokenbalance.wire.server.request_head import (
    HEAD_BYTES_MAX,
    URL_BYTES_MAX,
    check_codings,
    check_head,
    expects_continue,
    head_too_large,
    size_of_head,
    url_too_long,
    without_upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.wire.server.request_head import Headers

CHUNK_OVERHEAD_BYTES_MAX: Final = 8 * 1024
"""Chunk sizes, extensions and trailers of one body, beyond what plain chunks need."""
CHUNK_OVERHEAD_BYTES_USUAL: Final = 24
"""A size of 16 hex digits and its two line ends, with room to spare."""


class _Phase(enum.Enum):
    """What the next bytes of the client belong to."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


# Names of their own: in Python 3.11 a lookup in an Enum is ten times that of a global.
_IDLE, _HEAD, _BODY = _Phase


class Receiver(Protocol):
    """What takes the body of a request."""

    def feed_body(self, data: bytes) -> None:
        """Take a piece of it."""
        ...

    def feed_end(self) -> None:
        """Note that it has arrived whole."""
        ...


class RequestReader:
    """Reads one request after the other. After an error it must not be fed again."""

    __slots__ = (
        "_begin",
        "_chunk_overhead",
        "_is_chunked",
        "_parser",
        "_phase",
        "_received",
        "expects_continue",
        "headers",
        "keeps_alive",
        "method",
        "receiving",
        "target",
        "version",
    )

    def __init__(self, begin: Callable[[], Receiver]) -> None:
        """Take what is called when a head is whole, and returns what takes the body."""
        self.method: bytes = b""
        self.target: bytes = b""
        self.version: str = ""
        """As in "1.1"."""
        self.headers: Headers = []
        """Names in lower case."""
        self.keeps_alive: bool = False
        """Another request may follow on the connection."""
        self.expects_continue: bool = False
        """The client waits for a `100 Continue` before it sends the body."""
        self.receiving: Receiver | None = None
        """Takes the body of the newest request; None when that is here to its end."""
        self._begin: Callable[[], Receiver] = begin
        self._phase: _Phase = _IDLE
        # Bytes since the last request ended. Counts whole reads, so what shares a read with the
        # end of a pipelined request is missing: limits then apply at most one read later.
        self._received: int = 0
        self._is_chunked: bool = False
        self._chunk_overhead: int = 0
        self._parser: httptools.HttpRequestParser = self._new_parser()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a request that says `connection: close` is dropped by the connection; as an
        # error it would cost the response to that request.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    @property
    def has_begun(self) -> bool:
        """Whether a head has begun, if only with a blank line, and has not ended."""
        return self._phase is _HEAD or (self._phase is _IDLE and self._received > 0)

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Raises:
            ProxyError: it is refused. What was whole before it has been passed on.

        """
        self._received += len(data)
        if self._is_chunked:
            self._chunk_overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[cast("int", upgrade.args[0]) :])
        except httptools.HttpParserInvalidURLError:
            raise MalformedTarget("The request target is not a valid path.") from None
        except httptools.HttpParserError as error:
            raise _refusal_of(error) from None
        else:
            if self._received:
                self._check_unfinished()

    def release(self) -> None:
        """Let go of everything that refers back to this object; nothing can be fed any more."""
        del self._parser, self._begin
        self.receiving = None

    # What the parser reports.

    def on_message_begin(self) -> None:
        """Begin a request. Called by httptools, as are those below."""
        self._phase = _HEAD
        self.target = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """Take the target, or a piece of it."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, or of the trailers."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check a whole head, and pass it on unless it asks to upgrade."""
        parser, headers = self._parser, self.headers
        self.method = parser.get_method()
        self.version = version = parser.get_http_version()
        names = check_head(self.method, self.target, version, headers, self._received)
        if b"transfer-encoding" in names:
            check_codings(version, headers)
            self._is_chunked = True
            self._chunk_overhead = self._received - size_of_head(self.target, headers)
        self._phase = _BODY
        if not parser.should_upgrade():
            self.keeps_alive = parser.should_keep_alive()
            self.expects_continue = b"expect" in names and expects_continue(headers)
            self.receiving = self._begin()
            # Trailers go where nobody reads them (RFC 9110 section 6.5.1: they are not headers).
            self.headers = []

    def on_chunk_header(self) -> None:
        """Allow for what a plain chunk costs."""
        self._chunk_overhead -= CHUNK_OVERHEAD_BYTES_USUAL

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._chunk_overhead -= len(body)
        if self.receiving is not None:
            self.receiving.feed_body(body)

    def on_message_complete(self) -> None:
        """End a request, except one that asks to upgrade: its body was not read."""
        if self.receiving is None:
            return
        if self._is_chunked:
            self._check_chunk_overhead()
            self._is_chunked = False
        self._phase = _IDLE
        self._received = 0
        self.receiving.feed_end()
        self.receiving = None

    # Limits of what has no end yet.

    def _check_unfinished(self) -> None:
        """Raise when a part of a request has outgrown its limit without an end in sight."""
        if self._is_chunked:
            self._check_chunk_overhead()
        elif self._phase is _HEAD and self._received > HEAD_BYTES_MAX:
            is_in_target = not self.headers and len(self.target) > URL_BYTES_MAX
            raise url_too_long() if is_in_target else head_too_large()
        elif self._phase is _IDLE and self._received > HEAD_BYTES_MAX:
            raise InvalidRequest("There are only blank lines where a request should be.")

    def _check_chunk_overhead(self) -> None:
        if self._chunk_overhead > CHUNK_OVERHEAD_BYTES_MAX:
            raise InvalidRequest("The body has too many chunk extensions or trailers.")
        # Small chunks must not save up allowance for one huge extension.
        self._chunk_overhead = max(self._chunk_overhead, 0)

    # Another protocol.

    def _upgrade(self, rest: bytes) -> None:
        """Read a request that asks to upgrade again as if it had not (RFC 9110 section 7.8).

        httptools skips the body of such a request; Java's and curl's clients send POST bodies
        together with `Upgrade: h2c`. The `Upgrade` field itself stays, so that the application can
        refuse it.

        This is where another protocol would be mounted: the head is whole and checked, `method`,
        `target` and `headers` describe it, and `rest` is what has arrived behind it. The connection
        would have to finish the requests before it, give away its transport (`set_protocol`), and
        leave its place in `ServerState.connections` to the other protocol.
        """
        fields = [
            b"%b: %b\r\n" % (name, without_upgrade(value) if name == b"connection" else value)
            for name, value in self.headers
        ]
        start = b"%b %b HTTP/%b\r\n" % (self.method, self.target, self.version.encode())
        self._parser = self._new_parser()
        self._phase = _IDLE
        self._received = 0
        self._is_chunked = False
        self.feed(b"".join([start, *fields, b"\r\n", rest]))


def _refusal_of(error: httptools.HttpParserError) -> ProxyError:
    """What a callback raised, which the parser's error has as its context, or the general one."""
    cause = error.__context__
    known = isinstance(cause, ProxyError)
    return cause if known else InvalidRequest("The request is not valid HTTP/1.1.")
