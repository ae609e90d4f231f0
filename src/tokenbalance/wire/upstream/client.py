"""What the seam needs from an HTTP client: over sockets of our own, or through a proxy.

Owns the two interfaces only; it must never know who implements them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable

Headers: TypeAlias = list[tuple[bytes, bytes]]


class Response(Protocol):
    """A response whose head has arrived; interim ones (1xx) are not passed on."""

    @property
    def status(self) -> int:
        """Of the final response."""
        ...

    @property
    def headers(self) -> Headers:
        """Names in lower case."""
        ...

    def read(self) -> Awaitable[bytes]:
        """Return what has arrived since, as soon as there is something; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was returned first.

        """
        ...

    def limit_silence(self, seconds: float) -> None:
        """End the response when nothing has arrived for so long, if the client can do that."""
        ...

    def close(self) -> Awaitable[None]:
        """Release the connection, whether the body was read to its end or not."""
        ...


class Client(Protocol):
    """Sends requests, and adds the operator's credentials to each."""

    def send(
        self, method: str, target: str, headers: Headers, body: bytes, account: int = 0
    ) -> Awaitable[Response]:
        """Send a request, once, for an account, and wait for the head of its response.

        Raises:
            UpstreamUnavailable: no connection, none that lasted until a response, or a response
                that is not valid HTTP.
            UpstreamTimeout: no response in time.
            UpstreamBroke: a response that began as a 2xx and has no complete head.

        """
        ...

    def close(self) -> Awaitable[None]:
        """Close every connection."""
        ...
