"""The departure of a stream's client: from then on the upstream may be silent only for a while.

A stream is read to its end although nobody reads it here, since that is what its charge is taken
from. An upstream that stalls would hold its credits and its connection for ten minutes. Most
streams end before anything is watched; they cost one timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenbalance.wire.client.request import ClientRequest
    from tokenbalance.wire.upstream import UpstreamResponse

DRAIN_SILENCE_S: Final = 30.0
"""How long the upstream of a stream may be silent when the client has left."""


class Departure:
    """Watches one stream, from the moment it is made until its `end`."""

    def __init__(self, request: ClientRequest, upstream: UpstreamResponse) -> None:
        self._request: ClientRequest = request
        self._upstream: UpstreamResponse = upstream
        self._watching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle = asyncio.get_running_loop().call_later(
            DRAIN_SILENCE_S, self._begin
        )

    def end(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._watching is not None:
            _ = self._watching.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await self._request.wait_for_disconnect()
        self._upstream.limit_silence(DRAIN_SILENCE_S)
