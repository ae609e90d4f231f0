"""What the seam needs from an HTTP client: over sockets of our own, or through a proxy.

Owns the two interfaces only; it must never know who implements them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Headers: TypeAlias = list[tuple[bytes, bytes]]
Outgoing: TypeAlias = "bytes | Streamed"
"""The body of a request."""
Take: TypeAlias = "Callable[[bytes], bool]"
"""Takes some of a body; returns False if its caller is to do something before more is given."""


class Streamed(Protocol):
    """A body that is not in memory."""

    size: int
    """In bytes."""

    async def read(self, offset: int) -> bytes:
        """Read some of it from a place on, as much as is to be sent at once."""
        ...


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

    def feed(self, take: Take) -> Awaitable[bool]:
        """Give what arrives to `take`, as soon as there is something, until that returns False.

        Returns:
            False at the end, when all was given.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was given first.

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
        self, method: str, target: str, headers: Headers, body: Outgoing, account: int = 0
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


def size_of(body: Outgoing) -> int:
    """The length of a body in bytes."""
    return len(body) if isinstance(body, bytes) else body.size


async def feed_from(read: Callable[[], Awaitable[bytes]], take: Take) -> bool:
    """Feed from a response that can only be read."""
    while data := await read():
        if not take(data):
            return True
    return False
