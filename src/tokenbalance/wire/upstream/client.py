"""What the seam asks of whoever speaks HTTP to the upstream: over sockets of our own, or a proxy.

Names the two shapes and nothing else; it must never know who has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable

Headers: TypeAlias = list[tuple[bytes, bytes]]


class Response(Protocol):
    """An answer whose head has come; interim ones (1xx) are not passed on."""

    @property
    def status(self) -> int:
        """Of the final answer."""
        ...

    @property
    def headers(self) -> Headers:
        """Names in lower case."""
        ...

    def read(self) -> Awaitable[bytes]:
        """Give what has arrived since, as soon as there is something; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was given first.

        """
        ...

    def close(self) -> Awaitable[None]:
        """Let go of it, read to its end or not."""
        ...


class Client(Protocol):
    """Sends requests; the operator's credentials are its own to add."""

    def send(self, method: str, target: str, headers: Headers, body: bytes) -> Awaitable[Response]:
        """Send a request, once, and wait for the head of its answer.

        Raises:
            UpstreamUnavailable: no connection, or none that lasted until an answer, or none that
                HTTP knows.
            UpstreamTimeout: no answer in time.
            UpstreamBroke: an answer that began as a 2xx and has no complete head.

        """
        ...

    def close(self) -> Awaitable[None]:
        """Close every connection."""
        ...
