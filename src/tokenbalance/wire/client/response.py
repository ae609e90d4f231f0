"""The response to one request: a head once, then body bytes, then the end.

It says how a response is put together; whether it leaves through ASGI or directly, on a turn of our
own server, makes no difference to who writes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from tokenbalance.errors import headers_of, render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from starlette.types import Send

    from tokenbalance.errors import ProxyError
    from tokenbalance.wire.server.turn import Turn

Headers = list[tuple[bytes, bytes]]

_WITHOUT_BODY: Final = frozenset({204, 304})


class ClientResponse(ABC):
    """The response to one request."""

    def __init__(self) -> None:
        self._own_headers: Headers = []
        self.status: int = 0
        """The status that was sent; 0 until then."""

    @property
    def started(self) -> bool:
        """Whether the head has been sent."""
        return self.status != 0

    def add_header(self, name: bytes, value: bytes | int) -> None:
        """Add a header of ours, before the head is sent."""
        self._own_headers.append((name, value if isinstance(value, bytes) else b"%d" % value))

    def add_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Add headers of ours, before the head is sent."""
        self._own_headers += headers

    async def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Send the head, at once; `length` is that of the body, if it is known."""
        self.status = status
        # Servers keep back a head until there is some of the body.
        await self._send_with_head([*headers, *self._own_headers], length, b"", is_last=False)

    @abstractmethod
    def write(self, body: bytes) -> Awaitable[None]:
        """Send body bytes at once; waits while the client's connection cannot take more."""

    @abstractmethod
    def write_now(self, body: bytes) -> bool:
        """Send body bytes if nothing has to be waited for; False: nothing was sent."""

    @abstractmethod
    def end(self, body: bytes = b"") -> Awaitable[None]:
        """Send the last bytes."""

    @abstractmethod
    def break_off(self) -> None:
        """End a response that was started where it is, so that the client sees that it broke."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response."""
        self.status = status
        # RFC 9110 section 8.6: a response without a body has no length.
        length = None if status in _WITHOUT_BODY else len(body)
        await self._send_with_head([*headers, *self._own_headers], length, body, is_last=True)

    async def error(self, error: ProxyError, status: int) -> None:
        """Send one of our errors in OpenAI's envelope."""
        headers = [(b"content-type", b"application/json"), *headers_of(error)]
        await self.whole(status, headers, render(error))

    @abstractmethod
    def _send_with_head(
        self, headers: Headers, length: int | None, body: bytes, *, is_last: bool
    ) -> Awaitable[None]:
        """Send the head, with the first bytes of a body that is `length` bytes long, if known."""


class AsgiResponse(ClientResponse):
    """It leaves through ASGI."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send: Send = send

    @override
    def write(self, body: bytes) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": body, "more_body": True})

    @override
    def write_now(self, body: bytes) -> bool:
        return False

    @override
    def end(self, body: bytes = b"") -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": body, "more_body": False})

    @override
    def break_off(self) -> None:
        """Leave it to the server, which sees a response without an end: ASGI has no word for it."""

    @override
    async def _send_with_head(
        self, headers: Headers, length: int | None, body: bytes, *, is_last: bool
    ) -> None:
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})


class DirectResponse(ClientResponse):
    """It leaves on a turn of our own server."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn: Turn = turn

    @override
    async def write(self, body: bytes) -> None:
        if self._turn.must_wait:
            await self._turn.writable()
        self._turn.put(body, is_last=False)

    @override
    def write_now(self, body: bytes) -> bool:
        if self._turn.must_wait:
            return False
        self._turn.put(body, is_last=False)
        return True

    @override
    async def end(self, body: bytes = b"") -> None:
        if self._turn.must_wait:
            await self._turn.writable()
        self._turn.put(body, is_last=True)

    @override
    def break_off(self) -> None:
        self._turn.break_off()

    @override
    async def _send_with_head(
        self, headers: Headers, length: int | None, body: bytes, *, is_last: bool
    ) -> None:
        turn = self._turn
        if turn.must_wait:
            await turn.writable()
        turn.start(self.status, headers, length)
        turn.put(body, is_last=is_last)
