"""One connection to the upstream: writes requests, takes responses, and knows when it is spent.

    idle      no request is in flight: any byte that arrives ends the connection
    busy      a request was written, wholly or in part; what arrives is its response
    free      the response has arrived whole, read or not, and another request may follow
    spent     everything else, which includes a response that began before its request was written
              whole, and any byte behind a response: it is closed

It must never decide what a broken response costs, nor send anything twice. A body is written in
pieces, as fast as the upstream takes them, until it responds; a response is read ahead up to a
limit, as fast as it is read here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

from tokenbalance.wire.upstream.framing import BadResponse, ResponseReader
from tokenbalance.wire.upstream.incoming import IncomingResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenbalance.wire.upstream.client import Outgoing, Streamed

PIECE_BYTES: Final = 64 * 1024
"""Of a body, written at once."""


class Connection(asyncio.Protocol):
    """Carries one request after another."""

    __slots__ = (
        "_is_full",
        "_is_paused",
        "_is_sending",
        "_on_free",
        "_on_lost",
        "_response",
        "_transport",
        "account",
        "idle_since_s",
        "is_spent",
        "loop",
    )

    def __init__(
        self, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.is_spent: bool = False
        """No further request may be sent."""
        self.idle_since_s: float = 0.0
        """On the loop's clock, while it is free."""
        self.account: int = 0
        """That the last request was for."""
        self._on_free: Callable[[Connection], None] = on_free
        self._on_lost: Callable[[Connection], None] = on_lost
        self._response: IncomingResponse | None = None
        self._is_sending: bool = False
        self._is_full: bool = False
        self._is_paused: bool = False

    async def ask(self, head: bytes, body: Outgoing, *, wants_body: bool) -> IncomingResponse:
        """Send a request and wait for the head of its response.

        Raises:
            UpstreamUnavailable, UpstreamTimeout, UpstreamBroke: there is no response.

        """
        response = self._response = IncomingResponse(self, ResponseReader(wants_body=wants_body))
        try:
            if not isinstance(body, bytes):
                await self._stream(response, head, body)
            elif len(body) <= PIECE_BYTES:
                self._transport.write(head + body)
            else:
                await self._write(response, head, body)
            await response.begin()
        except BaseException:
            response.abandon()
            raise
        return response

    async def _write(self, response: IncomingResponse, head: bytes, body: bytes) -> None:
        """Write piece by piece; once the upstream responds, the rest is written without waiting."""
        self._is_sending = True
        self._transport.write(head)
        rest = memoryview(body)
        while rest and not self.is_spent:
            if self._is_full and not response.has_begun:
                await response.wait()
                continue
            self._transport.write(rest[:PIECE_BYTES])
            rest = rest[PIECE_BYTES:]
        self._is_sending = False

    async def _stream(self, response: IncomingResponse, head: bytes, body: Streamed) -> None:
        """Write a body that is not in memory as fast as the upstream takes it.

        Once the upstream refuses the request, the rest is not sent, and the connection is spent.
        """
        self._is_sending = True
        self._transport.write(head)
        sent = 0
        while sent < body.size and not self.is_spent:
            if response.has_begun and not 200 <= response.status < 300:  # noqa: PLR2004 - the class of status codes
                break
            if self._is_full:
                await response.wait()
                continue
            piece = await body.read(sent)
            if not piece:
                msg = "the body of a request is shorter than it was"
                raise EOFError(msg)
            sent += len(piece)
            self._transport.write(piece)
        self._is_sending = False

    def abort(self) -> None:
        """Close it now."""
        if not self.is_spent:
            self.is_spent = True
            self._transport.abort()

    def resume_reading(self) -> None:
        """Read from the upstream again, after what had arrived was read here."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def look_at_clock(self, silence_max_s: float) -> None:
        """End a response that has been awaited for too long."""
        response = self._response
        if response is not None and response.waits_since_s:
            silent_s = self.loop.time() - response.waits_since_s
            if silent_s > min(silence_max_s, response.silence_max_s):
                self._fail(TimeoutError(f"silent for {silent_s:.0f} s"), was_silent=True)

    # Called by the event loop.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self.abort()
            return
        if self._is_sending or self._transport.get_write_buffer_size():
            response.began_early = True
        try:
            if response.hear(data):
                self._end(response)
            elif response.is_far_ahead and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
        except BadResponse as error:
            self._fail(error)

    @override
    def eof_received(self) -> None:
        response = self._response
        if response is not None:
            try:
                response.hear_end()
            except BadResponse as error:
                self._fail(error)
            else:
                self._end(response)
        self.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_spent = True
        self._fail(exc or ConnectionAbortedError())
        self._on_lost(self)

    @override
    def pause_writing(self) -> None:
        self._is_full = True

    @override
    def resume_writing(self) -> None:
        self._is_full = False
        if self._response is not None:
            self._response.wake()

    # How a response ends.

    def _end(self, response: IncomingResponse) -> None:
        """Note that it has arrived whole: the connection is free at once, or spent."""
        self._response = None
        response.detach()
        if response.is_reusable and not self.is_spent:
            self.resume_reading()
            self._on_free(self)
        else:
            self.abort()

    def _fail(self, error: Exception, *, was_silent: bool = False) -> None:
        response, self._response = self._response, None
        if response is not None:
            self.abort()
            response.fail(error, was_silent=was_silent)
