"""The connections to one upstream: kept while they are useful, with one clock for all of them.

Their number is not limited: every request in flight has one. The connection that became free last
is used first, so that those left over from a busy time expire together. For a second after a
response, only the account that it was for may use the connection again: what the upstream might
still send for one account is never read as a response to another. It must never send a request
twice that may change anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import UpstreamUnavailable
from tokenbalance.wire.upstream.client import size_of
from tokenbalance.wire.upstream.connection import Connection
from tokenbalance.wire.upstream.dialing import Dialer
from tokenbalance.wire.upstream.request_head import RequestHeads

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from tokenbalance.wire.upstream.client import Headers, Outgoing
    from tokenbalance.wire.upstream.incoming import IncomingResponse

READ_TIMEOUT_S: Final = 600.0
"""Reasoning models are silent for minutes; the official SDKs wait as long."""
KEEPALIVE_S: Final = 15.0
"""Shorter than the upstream's own, so that a request is not sent into a closing connection."""
SILENCE_S: Final = 1.0
"""How long a connection must have been silent before another account may use it."""
LOOK_S: Final = 0.25
"""How often the clock is checked, while there are connections."""

_READS_ONLY: Final = frozenset({"GET", "HEAD"})


class Connections:
    """Sends requests over connections of our own."""

    def __init__(self, base_url: SplitResult, own_headers: Headers) -> None:
        self._heads: RequestHeads = RequestHeads(base_url, own_headers)
        self._dialer: Dialer = Dialer(base_url)
        self._open: set[Connection] = set()
        self._of_account: dict[int, list[Connection]] = {}
        """Free ones that only the account of their last request may use yet."""
        self._free: list[Connection] = []
        """Free ones for all. The one that has been free the longest comes first."""
        self._looking: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event = asyncio.Event()

    async def send(
        self, method: str, target: str, headers: Headers, body: Outgoing, account: int = 0
    ) -> IncomingResponse:
        """Send a request and wait for the head of its response; raises what `Client` names."""
        head = self._heads.write(method, target, headers, size_of(body))
        wants_body = method != "HEAD"
        kept = self._take_free(account)
        if kept is not None:
            kept.account = account
            try:
                return await kept.ask(head, body, wants_body=wants_body)
            except UpstreamUnavailable:
                # The upstream may have closed it while the request was on its way.
                if method not in _READS_ONLY:
                    raise
        connection = await self._dialer.dial(self._make)
        connection.account = account
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

    def _take_free(self, account: int) -> Connection | None:
        own = self._of_account.get(account)
        while own:
            connection = own.pop()
            if not own:
                del self._of_account[account]
            if not connection.is_spent:
                return connection
        while self._free:
            connection = self._free.pop()
            if not connection.is_spent:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        connection.idle_since_s = connection.loop.time()
        self._of_account.setdefault(connection.account, []).append(connection)

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
        self._free_for_all()
        self._close_old()
        for connection in tuple(self._open):
            connection.look_at_clock(READ_TIMEOUT_S)
        if self._open:
            self._look_later()

    def _free_for_all(self) -> None:
        """Let every account use the connections that have been silent for long enough."""
        silent_since_s = asyncio.get_running_loop().time() - SILENCE_S
        silent: list[Connection] = []
        for account, own in tuple(self._of_account.items()):
            fresh = [one for one in own if one.idle_since_s > silent_since_s]
            if len(fresh) == len(own):
                continue
            silent += own[: len(own) - len(fresh)]
            if fresh:
                self._of_account[account] = fresh
            else:
                del self._of_account[account]
        silent.sort(key=lambda one: one.idle_since_s)
        self._free += [one for one in silent if not one.is_spent]

    def _close_old(self) -> None:
        oldest_s = asyncio.get_running_loop().time() - KEEPALIVE_S
        fresh = next(
            (at for at, one in enumerate(self._free) if one.idle_since_s > oldest_s),
            len(self._free),
        )
        for connection in self._free[:fresh]:
            connection.abort()
        del self._free[:fresh]
