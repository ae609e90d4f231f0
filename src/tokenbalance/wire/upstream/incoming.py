"""The response to one request, between the connection and its reader.

    fed by     the connection: bytes as they arrive, the end, a fault
    read by    the exchange: the head, then what has arrived since, in one piece
    detached   from the connection as soon as all has arrived, or nothing more will; what is kept
               can still be read, and closing the response then affects no connection

It must never wait for anything except the upstream, nor lose bytes that arrived before a fault.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from tokenbalance.wire.upstream.faults import UpstreamBroke, too_late, unreachable

if TYPE_CHECKING:
    import asyncio

    from tokenbalance.wire.upstream.client import Headers, Take
    from tokenbalance.wire.upstream.framing import ResponseReader

UNREAD_BYTES_MAX: Final = 64 * 1024
"""Kept before reading is paused; the read that exceeds it (256 KiB at most) comes on top."""


class Carrier(Protocol):
    """The connection that a response comes on."""

    loop: asyncio.AbstractEventLoop

    def abort(self) -> None:
        """Close it now."""
        ...

    def resume_reading(self) -> None:
        """Read from the upstream again, after what had arrived was read here."""
        ...


class IncomingResponse:
    """The response to one request, from the moment the request is sent."""

    __slots__ = (
        "_connection",
        "_fault",
        "_loop",
        "_reader",
        "_stopped",
        "_take",
        "_waiter",
        "began_early",
        "silence_max_s",
        "waits_since_s",
    )

    def __init__(self, connection: Carrier, reader: ResponseReader) -> None:
        self._connection: Carrier | None = connection
        self._reader: ResponseReader = reader
        self._loop: asyncio.AbstractEventLoop = connection.loop
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Take | None = None
        """Is given what arrives, while `feed` waits."""
        self._stopped: bool = False
        """It has taken the last bytes, and `feed` returns."""
        self.began_early: bool = False
        """Some of it arrived before its request was written whole."""
        self.silence_max_s: float = math.inf
        """Of the upstream, if that is less than for all responses."""
        self.waits_since_s: float = 0.0
        """On the loop's clock; 0 while nothing is awaited from the upstream."""

    @property
    def status(self) -> int:
        """Of the final response."""
        return self._reader.status

    @property
    def headers(self) -> Headers:
        """Of the final response, names in lower case."""
        return self._reader.headers

    @property
    def has_begun(self) -> bool:
        """Whether the head has arrived, or never will."""
        return self._reader.has_head or self._fault is not None

    def take_whole(self) -> bytes | None:
        """Take the body, if it is here to its end and none of it was read."""
        return self._reader.take() if self._reader.ended else None

    async def read(self) -> bytes:
        """Return what has arrived since, as soon as there is something; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was returned first.

        """
        reader = self._reader
        while not (data := reader.take()):
            if reader.ended:
                return b""
            if self._fault is not None:
                raise self._fault
            await self.wait()
        if self._connection is not None:
            self._connection.resume_reading()
        return data

    async def feed(self, take: Take) -> bool:
        """Give what arrives to `take` in the same turn of the loop, until that returns False.

        A read that is longer than what may be kept waits for another turn, so that an upstream as
        fast as this process cannot keep all others waiting.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was given to `take` first.

        """
        reader = self._reader
        self._stopped = False
        while not self._stopped:
            if data := reader.take():
                if self._connection is not None:
                    self._connection.resume_reading()
                if not take(data):
                    break
            elif reader.ended:
                return False
            elif self._fault is not None:
                raise self._fault
            else:
                self._take = take
                try:
                    await self.wait()
                finally:
                    self._take = None
        return True

    def limit_silence(self, seconds: float) -> None:
        """End the response when nothing has arrived for so long while it is awaited."""
        self.silence_max_s = seconds

    async def close(self) -> None:
        """Release the connection; it is closed if the response has not arrived whole."""
        self.abandon()

    def abandon(self) -> None:
        """Close the connection, if it still belongs to this response."""
        if self._connection is not None:
            self._connection.abort()
            self.detach()

    async def begin(self) -> None:
        """Wait for the head.

        Raises:
            UpstreamUnavailable, UpstreamTimeout, UpstreamBroke: it will never arrive.

        """
        while not self.has_begun:
            await self.wait()
        # A fault behind some of the body is raised by `read`, once that was returned.
        if self._fault is not None and not self._reader.has_unread:
            raise self._fault

    async def wait(self) -> None:
        """Wait until there is something new, or room to write."""
        self._waiter = self._loop.create_future()
        self.waits_since_s = self._loop.time()
        try:
            await self._waiter
        finally:
            self.waits_since_s = 0.0

    def wake(self) -> None:
        """Wake what waits, to look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def hear(self, data: bytes) -> bool:
        """Take what has arrived; returns whether the response is complete.

        Raises:
            BadResponse: it is invalid from here on.

        """
        reader = self._reader
        reader.feed(data)
        if self._take is not None and not reader.ended and not self.is_far_ahead:
            self.waits_since_s = self._loop.time()
            self._give(self._take)
        elif reader.has_head:
            self.wake()
        elif self.waits_since_s:
            self.waits_since_s = self._loop.time()
        return reader.ended

    def _give(self, take: Take) -> None:
        """Give what has just arrived to `take`; wake `feed` if that stops there, or fails."""
        data = self._reader.take()
        try:
            if not data or take(data):
                return
        except Exception as error:  # noqa: BLE001 - `feed` raises it
            self._fault = error
        # Nothing more is given before `feed` has looked.
        self._take = None
        self._stopped = self._fault is None
        self.wake()

    def hear_end(self) -> None:
        """Note that the upstream has closed the connection.

        Raises:
            BadResponse: the response is not complete.

        """
        self._reader.feed_end()
        self.wake()

    @property
    def is_far_ahead(self) -> bool:
        """Whether more has arrived than should be kept."""
        return self._reader.unread_bytes > UNREAD_BYTES_MAX

    @property
    def is_reusable(self) -> bool:
        """Whether another request may follow on the connection."""
        return self._reader.is_reusable and not self.began_early

    def fail(self, error: Exception, *, was_silent: bool) -> None:
        """End the response here; `begin` or `read` raises the fault."""
        if self._connection is None:
            return
        if self._reader.has_head or self._reader.promises_success:
            self._fault = UpstreamBroke(type(error).__name__)
        else:
            self._fault = too_late() if was_silent else unreachable()
        self._fault.__cause__ = error
        self.detach()
        self.wake()

    def detach(self) -> None:
        """Detach from the connection, which is free or spent."""
        if self._connection is not None:
            self._connection = None
            self._reader.release()
