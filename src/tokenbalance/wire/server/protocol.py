"""The HTTP/1.1 layer: uvicorn's httptools protocol, minus what a proxy must not accept.

This file owns framing: where a request begins and ends, and how long its head may take. Two
parties that disagree on that can be played against each other (request smuggling), so whatever
is ambiguous is refused and the connection ends. It must never look at keys, paths or bodies.

What llhttp, the parser below httptools, refuses by itself: Content-Length beside
Transfer-Encoding, repeated or malformed lengths, codings it cannot frame, space before a colon,
folded lines, bare LF, control characters, lower-case methods, chunk sizes that overflow. What is
added here, each for a request that uvicorn 0.54 was seen to accept:

    head          over 64 KiB, over 256 fields, URL over 16 KiB, not complete within 10 seconds
    Host          missing, repeated, or not an authority
    target        with a fragment, of another authority, CONNECT
    version       0.9 and 2.0
    body          codings other than one `chunked`, chunked in HTTP/1.0, more than 8 KiB of chunk
                  extensions and trailers; trailers are read and dropped, never made headers
    Upgrade       of no effect, and the body is still read (uvicorn loses it)

And for what uvicorn does with a connection: a refusal never lands in the middle of another
answer; an answer given before the body has arrived says `connection: close`, and the rest of the
body is read for a few seconds, since closing at once would reset the connection under the answer.
"""

from __future__ import annotations

import asyncio
import enum
import re
from typing import TYPE_CHECKING, ClassVar, cast
from urllib.parse import unquote

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tokenbalance.errors import (
    HeadTooLarge,
    InvalidRequest,
    MalformedTarget,
    ProxyError,
    RequestTimeout,
    UrlTooLong,
    render,
)
from tokenbalance.wire.server.cycle import Cycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

HEAD_BYTES_MAX = 64 * 1024
HEAD_FIELDS_MAX = 256
URL_BYTES_MAX = 16 * 1024
# Chunk sizes, extensions and trailers of one body, beyond what plain chunks need.
CHUNK_OVERHEAD_BYTES_MAX = 8 * 1024
# A size of 16 hex digits and its two line ends, with room to spare.
CHUNK_OVERHEAD_BYTES_USUAL = 24
PIPELINED_REQUESTS_MAX = 16

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")

_USUAL_PORT = {b"http": b":80", b"https": b":443"}


class _Phase(enum.Enum):
    """What the next bytes of the client belong to."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


# Names of their own: in Python 3.11 a lookup in an Enum is ten times that of a global.
_IDLE, _HEAD, _BODY = _Phase


class _LingeringTransport:
    """The transport as an answer sees it while its request's body is still on its way."""

    __slots__ = ("_protocol", "is_closing", "write")

    def __init__(self, protocol: HardenedProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        self._protocol.close_lingering()


class HardenedProtocol(HttpToolsProtocol):
    """One connection. The timeouts are seconds, and class attributes so that tests can be quick."""

    head_timeout_s: ClassVar[float] = 10.0
    """From connecting, or from the first byte of a later request, to the end of the head."""
    linger_timeout_s: ClassVar[float] = 5.0
    """How long to read what a client still sends after it has had its last answer."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._phase = _IDLE
        # Bytes since the last request ended. Counts whole reads, so what shares a read with the
        # end of a pipelined request is missing: limits then bite at most one read later.
        self._received = 0
        self._is_chunked = False
        self._chunk_overhead = 0
        self._running: RequestResponseCycle | None = None
        self._may_keep_alive = False
        self._is_deaf = False
        self._deadline: asyncio.TimerHandle | None = None

    # The connection.

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._lingering_transport = _LingeringTransport(self, transport)
        self._deadline = self.loop.call_later(self.head_timeout_s, self._head_is_overdue)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        # uvicorn tells only the newest request, which need not be the one that is being answered.
        self._disconnect(self._running)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._received += len(data)
        if self._is_chunked:
            self._chunk_overhead += len(data)
        try:
            self.parser.feed_data(data)
            if self._received:
                self._check_unfinished()
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidURLError:
            self._refuse(MalformedTarget("The request target is not a valid path."))
        except httptools.HttpParserError as error:
            # An exception of a callback below arrives as the context of the parser's.
            cause = error.__context__
            known = isinstance(cause, ProxyError)
            self._refuse(cause if known else InvalidRequest("The request is not valid HTTP/1.1."))
        except ProxyError as error:
            self._refuse(error)
        else:
            self._expect_head_soon()

    @override
    def shutdown(self) -> None:
        self._may_keep_alive = False
        super().shutdown()

    def close_lingering(self) -> None:
        """End our side now, and the connection when the client has ended its own, or soon."""
        if self.transport.is_closing():
            return
        self._is_deaf = True
        self._unset_keepalive_if_required()
        self._cancel_deadline()
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._deadline = self.loop.call_later(self.linger_timeout_s, self.transport.close)

    # What the parser reports.

    @override
    def on_message_begin(self) -> None:
        self._phase = _HEAD
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._check_head()
        self._cancel_deadline()
        self._phase = _BODY
        if self.parser.should_upgrade():
            return
        self._begin_cycle()
        # Trailers go where nobody reads them (RFC 9110 6.5.1: they must not pass for headers).
        self.headers = []
        # Until the body is here, the connection cannot carry another request.
        self._may_keep_alive = self.cycle.keep_alive
        self.cycle.keep_alive = False
        self.cycle.transport = self._lingering_transport  # pyright: ignore[reportAttributeAccessIssue]

    def _begin_cycle(self) -> None:
        """Hand a request whose head is whole to the application, or queue it behind another."""
        url = httptools.parse_url(self.url)
        version = self.parser.get_http_version()
        path = url.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        self.scope["raw_path"] = self.root_path.encode() + url.path
        self.scope["query_string"] = url.query or b""
        before = cast("RequestResponseCycle | None", self.cycle)
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        app = cast("ASGI3Application", self.app)
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def on_chunk_header(self) -> None:
        """Allow for what a plain chunk costs. Called by httptools."""
        self._chunk_overhead -= CHUNK_OVERHEAD_BYTES_USUAL

    @override
    def on_body(self, body: bytes) -> None:
        self._chunk_overhead -= len(body)
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._check_chunk_overhead()
        self._phase = _IDLE
        self._received = 0
        self._is_chunked = False
        super().on_message_complete()
        self.cycle.transport = self.transport
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._may_keep_alive

    @override
    def on_response_complete(self) -> None:
        if self._is_deaf:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        self._expect_head_soon()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # What is refused.

    def _check_head(self) -> None:
        """Raise what is wrong with a whole head; llhttp has passed its syntax."""
        if len(self.url) > URL_BYTES_MAX:
            raise UrlTooLong(f"The URL is longer than {URL_BYTES_MAX} bytes.")
        if len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
            raise InvalidRequest("Too many requests were sent without waiting for their answers.")
        if len(self.headers) > HEAD_FIELDS_MAX:
            raise HeadTooLarge(f"The request has more than {HEAD_FIELDS_MAX} headers.")
        if self._received > HEAD_BYTES_MAX and self._head_size() > HEAD_BYTES_MAX:
            raise HeadTooLarge(f"The headers are larger than {HEAD_BYTES_MAX} bytes.")
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        names = [name for name, _ in self.headers]
        host = self._check_host(names, version)
        self._check_target(host)
        if b"transfer-encoding" in names:
            self._check_codings(version)

    def _check_host(self, names: list[bytes], version: str) -> bytes | None:
        count = names.count(b"host")
        if count == 0 and version == "1.0":
            return None
        if count != 1:
            raise InvalidRequest("A request needs exactly one Host header.")
        host = self.headers[names.index(b"host")][1]
        if not _HOST.fullmatch(host):
            raise InvalidRequest("The Host header is not a host.")
        return host

    def _check_target(self, host: bytes | None) -> None:
        if b"#" in self.url or not self.url.isascii():
            raise MalformedTarget("The request target is not a valid path.")
        if self.url.startswith(b"/"):
            return
        if self.parser.get_method() == b"CONNECT":
            raise MalformedTarget("This is not a tunnel; CONNECT is not offered.")
        # RFC 9112 3.2.2: a server must take `GET http://host/path`, if it is that host.
        absolute = re.match(rb"(?i)(https?)://([^/?]*)/", self.url)
        usual = _USUAL_PORT[absolute[1].lower()] if absolute else b""
        is_ours = (
            absolute
            and host
            and absolute[2].lower().removesuffix(usual) == host.lower().removesuffix(usual)
        )
        if self.url != b"*" and not is_ours:
            raise MalformedTarget("The request target names another server than the Host header.")

    def _check_codings(self, version: str) -> None:
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if version != "1.1" or len(codings) != 1 or codings[0].strip().lower() != b"chunked":
            raise InvalidRequest("The only transfer coding taken is one `chunked`, in HTTP/1.1.")
        self._is_chunked = True
        self._chunk_overhead = self._received - self._head_size()

    def _check_unfinished(self) -> None:
        """Raise when a part of a request has outgrown its limit without an end in sight."""
        if self._is_chunked:
            self._check_chunk_overhead()
        elif self._phase is _HEAD and self._received > HEAD_BYTES_MAX:
            if self.headers or len(self.url) <= URL_BYTES_MAX:
                raise HeadTooLarge(f"The headers are larger than {HEAD_BYTES_MAX} bytes.")
            raise UrlTooLong(f"The URL is longer than {URL_BYTES_MAX} bytes.")
        elif self._phase is _IDLE and self._received > HEAD_BYTES_MAX:
            raise InvalidRequest("There are only blank lines where a request should be.")

    def _check_chunk_overhead(self) -> None:
        if self._is_chunked and self._chunk_overhead > CHUNK_OVERHEAD_BYTES_MAX:
            raise InvalidRequest("The body has too many chunk extensions or trailers.")
        # Small chunks must not save up allowance for one huge extension.
        self._chunk_overhead = max(self._chunk_overhead, 0)

    def _head_size(self) -> int:
        """Bytes of the head, at least: white space around values is not counted."""
        fields = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.url) + len(" HTTP/1.1\r\n\r\n") + fields

    # How it is refused.

    def _refuse(self, error: ProxyError) -> None:
        """Answer `error` and end the connection, or only end it after the answer under way."""
        self.logger.debug("Refused a malformed request with status %d.", error.status)
        running = self._running
        if running is None or running.response_complete:
            self._write_refusal(error)
            self.close_lingering()
        elif running is self.cycle and self._phase is _BODY:
            self._disconnect(running)
            if not running.response_started:
                self._write_refusal(error)
            self.close_lingering()
        else:
            self.pipeline.clear()
            self._is_deaf = True
            running.keep_alive = False
            running.transport = self._lingering_transport  # pyright: ignore[reportAttributeAccessIssue]

    def _write_refusal(self, error: ProxyError) -> None:
        body = render(error)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body]))

    def _disconnect(self, cycle: RequestResponseCycle | None) -> None:
        """Tell an application that its client is gone, whatever the socket says."""
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Read the request again as if it had not asked to upgrade (RFC 9110 7.8 allows it).

        httptools skips the body of such a request; Java's and curl's clients send POST bodies
        together with `Upgrade: h2c`. The field itself stays, for whoever wants to say no to it.
        """
        fields = [
            b"%s: %s\r\n" % (name, _without_upgrade(value) if name == b"connection" else value)
            for name, value in self.headers
        ]
        start = b"%s %s HTTP/%s\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._phase = _IDLE
        self._received = 0
        self._is_chunked = False
        self.data_received(b"".join([start, *fields, b"\r\n", rest]))

    # How long a head may take.

    def _expect_head_soon(self) -> None:
        """Start the clock on a head that has begun and that nothing else holds up."""
        if self._deadline is not None or not self._has_begun():
            return
        if self._running is None or self._running.response_complete:
            self._deadline = self.loop.call_later(self.head_timeout_s, self._head_is_overdue)

    def _has_begun(self) -> bool:
        return self._phase is _HEAD or (self._phase is _IDLE and self._received > 0)

    def _head_is_overdue(self) -> None:
        self._deadline = None
        if self._has_begun():
            self._refuse(RequestTimeout("The request head did not arrive in time."))
        else:
            self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _without_upgrade(connection: bytes) -> bytes:
    """Take out of a `Connection` field what makes its request one that asks to upgrade."""
    tokens = [token.strip() for token in connection.split(b",")]
    return b", ".join(token for token in tokens if token.lower() != b"upgrade")
