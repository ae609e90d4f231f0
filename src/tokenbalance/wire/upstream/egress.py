"""Requests to the upstream through an egress proxy, with httpx2's transport.

It calls the transport directly, so that no client in between can
retry, redirect or buffer a stream. It is slower than connections of our own; only installations
behind a proxy pay for that.

The transport does not report how much of a head had arrived when a response broke off, so here
every such response counts as none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2

from tokenbalance.wire.upstream.client import feed_from
from tokenbalance.wire.upstream.connections import KEEPALIVE_S, READ_TIMEOUT_S
from tokenbalance.wire.upstream.dialing import CONNECT_TIMEOUT_S, trusting_context
from tokenbalance.wire.upstream.faults import UpstreamBroke, too_late, unreachable, unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from tokenbalance.wire.upstream.client import Headers, Outgoing, Streamed, Take

_TIMED_OUT: Final = (TimeoutError, httpx2.TimeoutException)
_FAILED: Final = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError)
_FINAL_STATUS_MIN: Final = 200


class ProxiedResponse:
    """A response that comes through the proxy."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status: int = response.status_code
        self.headers: Headers = [
            (name.lower(), value.strip()) for name, value in response.headers.raw
        ]
        self._response: httpx2.Response = response
        self._pieces: AsyncIterator[bytes] = aiter(response.stream)  # pyright: ignore[reportArgumentType] - its type also allows a synchronous stream

    async def read(self) -> bytes:
        """Return the next piece of the body; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early.

        """
        try:
            while (piece := await anext(self._pieces, None)) == b"":
                pass
        except _FAILED as error:
            raise UpstreamBroke(type(error).__name__) from error
        return piece or b""

    def feed(self, take: Take) -> Awaitable[bool]:
        """Give what arrives to `take` until that returns False; False at the end."""
        return feed_from(self.read, take)

    def limit_silence(self, seconds: float) -> None:
        """Do nothing: the transport's limit is set when a request is sent."""
        del seconds

    async def close(self) -> None:
        """Release the connection; it is closed if the body was not read to its end."""
        await self._response.aclose()


class ProxiedClient:
    """Sends requests through a proxy."""

    def __init__(self, base_url: str, own_headers: Headers, proxy_url: str) -> None:
        self._base_url: str = base_url
        self._own_headers: Headers = own_headers
        self._transport: httpx2.AsyncHTTPTransport = httpx2.AsyncHTTPTransport(
            verify=trusting_context(),
            trust_env=False,
            proxy=httpx2.Proxy(proxy_url),
            limits=httpx2.Limits(keepalive_expiry=KEEPALIVE_S),
        )

    async def send(
        self, method: str, target: str, headers: Headers, body: Outgoing, account: int = 0
    ) -> ProxiedResponse:
        """Send a request and wait for the head of its response; raises what `Client` names."""
        del account  # The transport's connections are shared by all accounts.
        sent = [*headers, *self._own_headers]
        if not isinstance(body, bytes):
            sent.append((b"content-length", b"%d" % body.size))
        try:
            response = await self._transport.handle_async_request(
                httpx2.Request(
                    method,
                    self._base_url + target,
                    headers=sent,
                    content=body if isinstance(body, bytes) else _pieces(body),
                    extensions={"timeout": _timeouts()},
                )
            )
        except _FAILED as error:
            raise (too_late() if isinstance(error, _TIMED_OUT) else unreachable()) from error
        if response.status_code < _FINAL_STATUS_MIN:
            await response.aclose()
            raise unusable()
        return ProxiedResponse(response)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


async def _pieces(body: Streamed) -> AsyncIterator[bytes]:
    sent = 0
    while piece := await body.read(sent):
        yield piece
        sent += len(piece)


def _timeouts() -> dict[str, float | None]:
    return {
        "connect": CONNECT_TIMEOUT_S,
        "read": READ_TIMEOUT_S,
        "write": READ_TIMEOUT_S,
        "pool": None,
    }
