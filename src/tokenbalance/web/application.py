"""The application, with paths that are answered in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from fastapi import FastAPI
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Receive, Scope, Send

    from tokenbalance.wire.server.direct import DirectTurn, Respond


class InFront(Protocol):
    """Responds to requests before any middleware or route sees them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request that comes through ASGI."""
        ...

    def direct(self, turn: DirectTurn) -> Awaitable[None]:
        """Respond to a request of our own server, without ASGI in between."""
        ...


class Application(FastAPI):
    """FastAPI, with some paths mounted in front of its middleware and routes.

    The proxy handles errors itself, and nothing else may touch its bytes.
    """

    _in_front: tuple[tuple[str, InFront], ...] = ()
    _direct: tuple[tuple[bytes, Respond], ...] = ()

    def mount_in_front(self, path: str, app: InFront) -> None:
        """Mount an application that gets its requests unchanged."""
        self.mount(path, app)
        self._in_front += ((f"{path}/", app),)
        self._direct += ((f"{path}/".encode(), app.direct),)

    def direct(self, target: bytes) -> Respond | None:
        """Who responds to a request of our own server, if no route or middleware is to see it."""
        for path, respond in self._direct:
            if target.startswith(path):
                return respond
        return None

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            target = cast("str", scope["path"])
            for path, app in self._in_front:
                if target.startswith(path):
                    await app(scope, receive, send)
                    return
            if scope["method"] == "HEAD":
                # RFC 9110 section 9.3.2: as `GET`. Servers send no body.
                scope = {**scope, "method": "GET"}
        await super().__call__(scope, receive, send)
