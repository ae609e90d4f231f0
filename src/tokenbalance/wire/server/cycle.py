"""A turn as ASGI sees it: a scope, and messages in both directions.

`turn` owns what becomes of the bytes; here the application's messages and headers are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

from tokenbalance.wire.server.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from starlette.types import ASGIApp, Message, Scope

    from tokenbalance.wire.server.turn import Carrier

_FRAMING: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class Cycle(Turn):
    """A request, and its response as an ASGI application sends it."""

    __slots__ = ("scope",)

    def __init__(
        self, connection: Carrier, scope: Scope, *, closes: bool, expects_continue: bool
    ) -> None:
        method, version = cast("str", scope["method"]), cast("str", scope["http_version"])
        super().__init__(
            connection, method, version, closes=closes, expects_continue=expects_continue
        )
        self.scope: Scope = scope

    @override
    def respond(self, app: ASGIApp) -> Awaitable[None]:
        return app(self.scope, self.receive, self.send)

    async def send(self, message: Message) -> None:
        """Send the head, or a piece of the body. Called by the application.

        Raises:
            RuntimeError: it is not what the head had promised, or the head cannot be sent.

        """
        await self.writable()
        if self.disconnected:
            return
        if self.response_started:
            is_last = not cast("bool", message.get("more_body", False))
            self.put(cast("bytes", message.get("body", b"")), is_last=is_last)
        else:
            self._start(message)

    def _start(self, message: Message) -> None:
        headers: list[tuple[bytes, bytes]] = []
        is_framed = False
        for header in cast("Iterable[tuple[bytes, bytes]]", message.get("headers", ())):
            name = header[0].lower()
            if name in _FRAMING:
                is_framed = is_framed or name != b"connection"
                if not self._obey(name, header[1]):
                    continue
            headers.append(header)
        self._begin(cast("int", message["status"]), headers, is_framed=is_framed)

    def _obey(self, name: bytes, value: bytes) -> bool:
        """Frame the response as the application's own header says; whether to send that header."""
        if name == b"content-length":
            self._bytes_left = int(value)
            self._is_chunked = False
        elif name == b"transfer-encoding":
            self._is_chunked = value.lower() == b"chunked"
        else:
            self.closes = self.closes or value.lower() == b"close"
            # Only this one goes with a field that the application sends (RFC 9110 section 7.8).
            return value.lower() == b"upgrade"
        return True
