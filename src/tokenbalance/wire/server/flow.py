"""Flow control of one connection: neither side is read faster than the other side writes.

Owns the transport's pauses and nothing else; it must never drop or keep bytes.
"""

from __future__ import annotations

import asyncio


class FlowControl:
    """Pauses of one transport. Reading is paused by us, writing by the transport."""

    __slots__ = ("_drained", "_is_reading_paused", "_transport", "is_writing_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport: asyncio.Transport = transport
        self._is_reading_paused: bool = False
        self._drained: asyncio.Event | None = None
        self.is_writing_paused: bool = False
        """Whether the client has more to read than should be kept for it."""

    def pause_reading(self) -> None:
        """Let what the client sends wait in its socket."""
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, if it was paused."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Called when the transport's write buffer is full."""
        if not self.is_writing_paused:
            self.is_writing_paused = True
            self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        """Called when the write buffer has room, or the connection is lost."""
        self.is_writing_paused = False
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def drain(self) -> None:
        """Wait until writing is no longer paused."""
        if self._drained is not None:
            _ = await self._drained.wait()
