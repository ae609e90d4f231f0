"""The connections to one upstream: kept while they are useful, with one clock for all of them.

Their number is not limited: every request in flight has one. The connection that became free last
is used first, so that those left over from a busy time expire together. It must never send a
request twice that may change anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import UpstreamUnavailable
from tokenbalance.wire.upstream.connection import Connection
from tokenbalance.wire.upstream.dialing import Dialer
from tokenbalance.wire.upstream.request_head import RequestHeads

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from tokenbalance.wire.upstream.client import Headers
    from tokenbalance.wire.upstream.incoming import IncomingResponse

READ_TIMEOUT_S: Final = 600.0
"""Reasoning models are silent for minutes; the official SDKs wait as long."""
KEEPALIVE_S: Final = 15.0
"""Shorter than the upstream's own, so that a request is not sent into a closing connection."""
LOOK_S: Final = 0.25
"""How often the clock is checked, while there are connections."""

_READS_ONLY: Final = frozenset({"GET", "HEAD"})


class Connections:
    """Sends requests over connections of our own."""

    def __init__(self, base_url: SplitResult, own_headers: Headers) -> None:
        self._heads: RequestHeads = RequestHeads(base_url, own_headers)
        self._dialer: Dialer = Dialer(base_url)
        self._open: set[Connection] = set()
        self._free: list[Connection] = []
        """The one that has been free the longest comes first."""
        self._looking: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event = asyncio.Event()

    async def send(
        self, method: str, target: str, headers: Headers, body: bytes
    ) -> IncomingResponse:
        """Send a request and wait for the head of its response; raises what `Client` names."""
        head = self._heads.write(method, target, headers, len(body))
        wants_body = method != "HEAD"
        kept = self._take_free()
        if kept is not None:
            try:
                return await kept.ask(head, body, wants_body=wants_body)
            except UpstreamUnavailable:
                # The upstream may have closed it while the request was on its way.
                if method not in _READS_ONLY:
                    raise
        connection = await self._dialer.dial(self._make)
        self._open.add(connection)
        self._look_later()
        return await connection.ask(head, body, wants_body=wants_body)

    async def close(self) -> None:
        """Close every connection, whatever it carries, and wait until all are closed."""
        if self._looking is not None:
            self._looking.cancel()
        self._all_closed.clear()
        for connection in self._open:
            connection.abort()
        if self._open:
            _ = await self._all_closed.wait()

    def _make(self) -> Connection:
        return Connection(self._keep, self._forget)

    def _take_free(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if not connection.is_spent:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        connection.idle_since_s = connection.loop.time()
        self._free.append(connection)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()

    # The clock.

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = None
        self._close_old()
        for connection in tuple(self._open):
            connection.look_at_clock(READ_TIMEOUT_S)
        if self._open:
            self._look_later()

    def _close_old(self) -> None:
        oldest_s = asyncio.get_running_loop().time() - KEEPALIVE_S
        fresh = next(
            (at for at, one in enumerate(self._free) if one.idle_since_s > oldest_s),
            len(self._free),
        )
        for connection in self._free[:fresh]:
            connection.abort()
        del self._free[:fresh]
