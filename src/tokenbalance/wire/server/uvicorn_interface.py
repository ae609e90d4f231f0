"""All that the HTTP protocol needs from uvicorn, which runs the process.

uvicorn calls the class of its `http=` setting for each connection, with the keyword arguments
`config`, `server_state`, `app_state` (the lifespan's state) and `_loop`. Of the first two it needs
only what is named here. In return each connection is in `connections` while it lasts and each
request in `tasks` while its application runs, and a connection ends gracefully on `shutdown()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

    from tokenbalance.wire.server.descriptors import Descriptors


class ServerConfig(Protocol):
    """The settings, after uvicorn has loaded the application."""

    @property
    def loaded_app(self) -> object:
        """The ASGI application, which answers every request."""
        ...

    @property
    def timeout_keep_alive(self) -> int:
        """Seconds after which an idle connection is closed."""
        ...

    @property
    def descriptors(self) -> Descriptors:
        """Decides whether a new connection may stay."""
        ...


class ServerState(Protocol):
    """What all connections of one server share."""

    total_requests: int
    default_headers: list[tuple[bytes, bytes]]
    """Headers of every response. uvicorn replaces the list once a second, for its date."""
    tasks: set[asyncio.Task[None]]
    connections: set[Any]  # pyright: ignore[reportExplicitAny] - uvicorn names its own classes only
