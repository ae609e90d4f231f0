"""HTTP/1.1 on one connection: requests to the application, responses and refusals to the client.

This file owns the order of what happens on a connection, and how long a client may take; `framing`
owns where a request begins and ends, `turn` what becomes of one. It must never look at keys,
paths or bodies.

    running      the request that is being answered; None while the connection is idle
    waiting      requests that arrived behind it, at most 16; each starts when the one before it is
                 answered
    receiving    the newest of these, while its body is still arriving
    deaf         what the client sends is no longer read, and the connection is about to end
    known        a request of it was answered with something other than 401. One that is not known
                 may be idle only as long as a head may take

A head must be complete within 10 seconds. A refusal never lands in the middle of another response.
A response sent before the body of its request has arrived says `connection: close`; the rest of the
body is then read for a few seconds, since closing at once would reset the connection before the
client has read the response.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, cast

from typing_extensions import override

from tokenbalance.errors import InvalidRequest, ProxyError, RequestTimeout, render
from tokenbalance.wire.server.cycle import Cycle
from tokenbalance.wire.server.direct import DirectTurn, Entrance
from tokenbalance.wire.server.flow import FlowControl
from tokenbalance.wire.server.framing import RequestReader
from tokenbalance.wire.server.request_head import decode_path, split_target
from tokenbalance.wire.server.response_head import write_head

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp, Scope

    from tokenbalance.wire.server.descriptors import Descriptors
    from tokenbalance.wire.server.turn import Turn
    from tokenbalance.wire.server.uvicorn_interface import ServerConfig, ServerState

PIPELINED_REQUESTS_MAX: Final = 16
ON_ITS_WAY_S: Final = 0.1
"""How long a request may be on its way on a new connection, which is not closed for others yet."""

logger = logging.getLogger("uvicorn.error")


class HttpProtocol(asyncio.Protocol):
    """One connection. The timeouts are seconds, and class attributes so that tests can be quick."""

    head_timeout_s: ClassVar[float] = 10.0
    """From connecting, or from the first byte of a later request, to the end of the head."""
    linger_timeout_s: ClassVar[float] = 5.0
    """How long to read what a client still sends after it has been sent its last response."""

    transport: asyncio.Transport
    flow: FlowControl

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.server_state: ServerState = server_state
        self._app: ASGIApp = cast("ASGIApp", config.loaded_app)
        app = config.loaded_app
        self._entrance: Entrance | None = app if isinstance(app, Entrance) else None
        self._app_state: dict[str, object] = app_state
        self._descriptors: Descriptors = config.descriptors
        self._keep_alive_s: float = config.timeout_keep_alive
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._reader: RequestReader = RequestReader(self._begin)
        self._scheme: str = "http"
        self._server: tuple[str, int] | None = None
        self._client: tuple[str, int] | None = None

        self._running: Turn | None = None
        self._waiting: deque[Turn] = deque()
        self._is_deaf: bool = False
        self.is_known: bool = False
        """A request was answered with something other than 401."""
        self._deadline: asyncio.TimerHandle | None = None
        """Of a head, or of lingering."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since_s: float = 0.0

    # The connection.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.flow = FlowControl(self.transport)
        self._server = _address(transport, "sockname")
        self._client = _address(transport, "peername")
        if transport.get_extra_info("sslcontext"):
            self._scheme = "https"
        self._idle_since_s = self._loop.time()
        connections = self.server_state.connections
        if not self._descriptors.admit(_descriptor(transport), connections):
            self.transport.abort()
            return
        connections.add(self)
        self._deadline = self._loop.call_later(self.head_timeout_s, self._head_is_overdue)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        self._cancel_deadline()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.flow.resume_writing()
        if self._running is not None:
            self._running.disconnect()
        # Turns and the reader refer to this object: without them it is freed at once.
        self._running = None
        self._waiting.clear()
        self._reader.release()

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        try:
            self._reader.feed(data)
        except ProxyError as error:
            self._refuse(error)
        else:
            if self._deadline is None:
                self._expect_head_soon()

    @override
    def pause_writing(self) -> None:
        self.flow.pause_writing()

    @override
    def resume_writing(self) -> None:
        self.flow.resume_writing()

    def shutdown(self) -> None:
        """End the connection after the requests that have arrived; at once if there are none."""
        if self._running is None:
            self.transport.close()
        else:
            newest = self._waiting[-1] if self._waiting else self._running
            newest.closes = True

    def drop_waiting(self) -> None:
        """Forget the requests that wait behind the running one."""
        self._waiting.clear()

    # The application.

    def _begin(self) -> Turn:
        """Start the request whose head the reader has, or let it wait behind another."""
        if len(self._waiting) >= PIPELINED_REQUESTS_MAX:
            raise InvalidRequest("Too many requests were sent without waiting for their responses.")
        self._cancel_deadline()
        turn = self._direct_turn() or self._cycle()
        if self._running is None:
            self._start(turn)
        else:
            self.flow.pause_reading()
            self._waiting.append(turn)
        return turn

    def _direct_turn(self) -> DirectTurn | None:
        """The request, if the application responds to it directly."""
        entrance, reader = self._entrance, self._reader
        respond = None if entrance is None else entrance.direct(reader.target)
        if entrance is None or respond is None:
            return None
        return DirectTurn(self, reader, respond, entrance, self._client)

    def _cycle(self) -> Cycle:
        reader = self._reader
        return Cycle(
            self,
            self._scope(),
            closes=reader.version == "1.0" or not reader.keeps_alive,
            expects_continue=reader.expects_continue,
        )

    def _scope(self) -> Scope:
        reader = self._reader
        raw_path, query = split_target(reader.target)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": reader.version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "method": reader.method.decode("ascii"),
            "root_path": "",
            "path": decode_path(raw_path),
            "raw_path": raw_path,
            "query_string": query,
            "headers": reader.headers,
            "state": self._app_state.copy(),
        }

    def _start(self, turn: Turn) -> None:
        self._running = turn
        task = self._loop.create_task(turn.run(self._app))
        tasks = self.server_state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def response_ended(self) -> None:
        """Go on to the next request; the response to the running one is written to its end."""
        self.server_state.total_requests += 1
        self._running = None
        if self._is_deaf or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            self._start(self._waiting.popleft())
            return
        self._idle_since_s = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._idle_max_s(), self._close_when_idle)
        if self._deadline is None:
            self._expect_head_soon()

    # How it ends.

    def close_after(self, turn: Turn) -> None:
        """End the connection behind what was written; read on if the client may still send."""
        if turn.lingers or not turn.body_arrived:
            self._close_lingering()
        else:
            self.transport.close()

    def _close_lingering(self) -> None:
        """End our side now, and the connection when the client has ended its own, or soon."""
        if self.transport.is_closing():
            return
        self._is_deaf = True
        self._cancel_deadline()
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._deadline = self._loop.call_later(self.linger_timeout_s, self.transport.close)

    def _refuse(self, error: ProxyError) -> None:
        """Respond with `error` and end the connection, or end it after the running response."""
        logger.debug("Refused a malformed request with status %d.", error.status)
        running = self._running
        if running is None:
            self._write_refusal(error)
            self._close_lingering()
        elif running is self._reader.receiving:
            running.disconnect()
            if not running.response_started:
                self._write_refusal(error)
            self._close_lingering()
        else:
            self._waiting.clear()
            self._is_deaf = True
            running.closes = running.lingers = True

    def _write_refusal(self, error: ProxyError) -> None:
        body = render(error)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        self.transport.write(write_head(error.status, headers) + body)

    # How long the client may take.

    def _expect_head_soon(self) -> None:
        """Start the clock on a head that has begun and that nothing else holds up."""
        if self._running is None and self._reader.has_begun:
            self._deadline = self._loop.call_later(self.head_timeout_s, self._head_is_overdue)

    def _head_is_overdue(self) -> None:
        self._deadline = None
        if self._reader.has_begun:
            self._refuse(RequestTimeout("The request head did not arrive in time."))
        else:
            self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _idle_max_s(self) -> float:
        return self._keep_alive_s if self.is_known else self.head_timeout_s

    def share_waited(self) -> float:
        """How much of its time for a request is over, 1 being all; 0 if one is running."""
        if self._running is not None or (self.is_known and self._reader.has_begun):
            return 0.0
        if self.transport.is_closing():
            return 0.0
        waited_s = self._loop.time() - self._idle_since_s
        return 0.0 if waited_s < ON_ITS_WAY_S else waited_s / self._idle_max_s()

    def dismiss(self) -> None:
        """Close it, to make room for others; it waits for a request."""
        self.transport.close()

    def _close_when_idle(self) -> None:
        """Close a connection that has been idle for long enough.

        One timer serves many requests: cancelling it for each costs more than looking again.
        """
        self._idle_timer = None
        if self._running is not None or self._reader.has_begun or self.transport.is_closing():
            return
        left_s = self._idle_since_s + self._idle_max_s() - self._loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._idle_timer = self._loop.call_later(left_s, self._close_when_idle)


def _descriptor(transport: asyncio.BaseTransport) -> int:
    """The number of its descriptor; -1 if it has none."""
    one = cast("socket.socket | None", transport.get_extra_info("socket"))
    return -1 if one is None else one.fileno()


def _address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int] | None:
    """Host and port of one end; None for a socket that has none."""
    address = cast("object", transport.get_extra_info(name))
    if not isinstance(address, tuple):
        return None
    host, port = cast("tuple[str, int]", address)[:2]
    return host, port
