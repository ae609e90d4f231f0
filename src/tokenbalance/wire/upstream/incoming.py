"""The answer to one request between those who bring it and who reads it.

    brings    the connection: bytes as they arrive, the end, a fault
    reads     the exchange: the head, then what has arrived since, in one piece
    parts     with the connection as soon as all has arrived, or nothing more will; what is kept can
              be read all the same, and closing it then touches nobody

It must never wait for anything but the upstream, nor forget bytes that had arrived before a fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from tokenbalance.wire.upstream.faults import UpstreamBroke, too_late, unreachable

if TYPE_CHECKING:
    import asyncio

    from tokenbalance.wire.upstream.client import Headers
    from tokenbalance.wire.upstream.framing import ResponseReader

UNREAD_BYTES_MAX: Final = 64 * 1024
"""Of an answer, kept before reading stops; what one read brings (256 KiB at most) comes on top."""


class Carrier(Protocol):
    """The connection that an answer comes on."""

    loop: asyncio.AbstractEventLoop

    def abort(self) -> None:
        """Close it now."""
        ...

    def resume_reading(self) -> None:
        """Hear the upstream again, after what had arrived was read."""
        ...


class IncomingResponse:
    """The answer to one request, from when it is sent."""

    __slots__ = ("_connection", "_fault", "_loop", "_reader", "_waiter", "waits_since_s")

    def __init__(self, connection: Carrier, reader: ResponseReader) -> None:
        self._connection: Carrier | None = connection
        self._reader: ResponseReader = reader
        self._loop: asyncio.AbstractEventLoop = connection.loop
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.waits_since_s: float = 0.0
        """On the loop's clock; 0 while nobody waits for the upstream."""

    @property
    def status(self) -> int:
        """Of the final answer."""
        return self._reader.status

    @property
    def headers(self) -> Headers:
        """Of the final answer, names in lower case."""
        return self._reader.headers

    @property
    def has_begun(self) -> bool:
        """There is a head, or there will be none."""
        return self._reader.has_head or self._fault is not None

    async def read(self) -> bytes:
        """Give what has arrived since, as soon as there is something; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was given first.

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

    async def close(self) -> None:
        """Let go of it; the connection of one that has not ended is closed."""
        self.abandon()

    def abandon(self) -> None:
        """Close the connection, if it is still this answer's."""
        if self._connection is not None:
            self._connection.abort()
            self.detach()

    async def begin(self) -> None:
        """Wait for the head.

        Raises:
            UpstreamUnavailable, UpstreamTimeout, UpstreamBroke: there will be none.

        """
        while not self.has_begun:
            await self.wait()
        # A fault behind some of the body is for who reads that: it is given first.
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
        """Let whoever waits look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def hear(self, data: bytes) -> bool:
        """Take what has arrived; whether the answer has ended with it.

        Raises:
            BadAnswer: it cannot go on.

        """
        reader = self._reader
        reader.feed(data)
        if reader.has_head:
            self.wake()
        elif self.waits_since_s:
            self.waits_since_s = self._loop.time()
        return reader.ended

    def hear_end(self) -> None:
        """Take it that the upstream has closed the connection.

        Raises:
            BadAnswer: it should not have.

        """
        self._reader.feed_end()
        self.wake()

    @property
    def is_far_ahead(self) -> bool:
        """More has arrived than should be kept."""
        return self._reader.unread_bytes > UNREAD_BYTES_MAX

    @property
    def is_reusable(self) -> bool:
        """Another request may follow."""
        return self._reader.is_reusable

    def fail(self, error: Exception, *, was_silent: bool) -> None:
        """Tell whoever reads or will read that the answer ends here."""
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
        """Part from the connection, which is free or spent."""
        if self._connection is not None:
            self._connection = None
            self._reader.release()
