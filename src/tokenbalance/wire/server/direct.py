"""A turn that is responded to directly: no scope, no messages, no layers of applications.

An application that has `direct` decides by the target of a request whether it responds to it
itself. It must respond just as it would through ASGI: only the way there is shorter, and the
address of the client is worked out when somebody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from typing_extensions import override
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tokenbalance.wire.server.request_head import split_target
from tokenbalance.wire.server.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveEvent,
        ASGISendEvent,
        HTTPScope,
    )

    from tokenbalance.wire.server.framing import RequestReader
    from tokenbalance.wire.server.turn import Carrier, Headers

Respond: TypeAlias = "Callable[[DirectTurn], Awaitable[None]]"
Client: TypeAlias = tuple[str, int] | None
"""Host and port of whoever has connected, if they have any."""


class Entrance(ProxyHeadersMiddleware):
    """The application as the server calls it: through ASGI, or directly.

    Through ASGI, uvicorn reads `X-Forwarded-*` of trusted proxies into every scope.
    """

    def __init__(self, app: ASGI3Application, trusted: list[str] | str) -> None:
        super().__init__(app, trusted)
        self._direct: Callable[[bytes], Respond | None] | None = getattr(app, "direct", None)
        self._reading: ProxyHeadersMiddleware = ProxyHeadersMiddleware(_nobody, trusted)

    def direct(self, target: bytes) -> Respond | None:
        """Who responds to a request with this target; None: the application, through ASGI."""
        return None if self._direct is None else self._direct(target)

    async def address_of(self, client: Client, headers: Headers) -> str:
        """The address of a client, which a trusted proxy may have named; "" if it has none."""
        scope = cast(
            "HTTPScope", cast("object", {"type": "http", "client": client, "headers": headers})
        )
        await self._reading(scope, _nothing, _nowhere)
        client = scope["client"]
        return client[0] if client else ""


class DirectTurn(Turn):
    """A request, and its response as who responds directly gives it."""

    __slots__ = ("_client", "_entrance", "_respond", "headers", "method", "query", "raw_path")

    def __init__(
        self,
        connection: Carrier,
        reader: RequestReader,
        respond: Respond,
        entrance: Entrance,
        client: Client,
    ) -> None:
        """Take the request whose head the reader has."""
        self.method: str = reader.method.decode("ascii")
        self.raw_path: bytes
        """As the client wrote it, without the query."""
        self.query: bytes
        self.raw_path, self.query = split_target(reader.target)
        self.headers: Headers = reader.headers
        """As received, names in lower case."""
        self._respond: Respond = respond
        self._entrance: Entrance = entrance
        self._client: Client = client
        super().__init__(
            connection,
            self.method,
            reader.version,
            closes=reader.version == "1.0" or not reader.keeps_alive,
            expects_continue=reader.expects_continue,
        )

    @override
    def respond(self, app: ASGIApp) -> Awaitable[None]:
        return self._respond(self)

    def address(self) -> Awaitable[str]:
        """The address of the client, which a trusted proxy may have named."""
        return self._entrance.address_of(self._client, self.headers)


async def _nobody(*_: object) -> None:
    """Respond to nothing: the scope is all that was asked for."""


async def _nothing() -> ASGIReceiveEvent:
    return {"type": "http.disconnect"}


async def _nowhere(event: ASGISendEvent, /) -> None:
    del event
