"""The product under test, served on a real socket by its own server."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tokenbalance.app import create_app
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.openai import SURFACE
from tokenbalance.settings import Settings
from tokenbalance.wire.server.lifecycle import Server, build_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import FastAPI

    from tokenbalance.openai import Surface

UPSTREAM_KEY = "sk-upstream-secret-of-the-operator"


class RestingRollUp(RollUp):
    """In place of the product's own, where sums are not the subject."""

    @override
    async def run(self) -> None:
        """Do nothing, until cancelled."""
        await asyncio.Event().wait()


def product_app(
    dsn: str, upstream_url: str | None, surface: Surface = SURFACE, /, **settings: Any
) -> FastAPI:
    """Assemble the product, untouched by the environment of whoever runs the tests."""
    values: dict[str, Any] = {
        "openai_api_key": UPSTREAM_KEY if upstream_url else None,
        # The scripted upstream stands in for OpenAI, whatever its address.
        "upstream_kind": "openai",
        # Every request is to reach the upstream, where a test looks at it.
        "models_copy_s": 0,
        **settings,
    }
    if upstream_url:
        values["openai_base_url"] = upstream_url
    settings_of_the_test = Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue] - no .env
    return create_app(settings_of_the_test, dsn, surface)


@asynccontextmanager
async def serving(
    dsn: str, upstream_url: str | None, surface: Surface = SURFACE, /, **settings: Any
) -> AsyncGenerator[str]:
    """Serve the product; yields its base URL without a path.

    Args:
        dsn: a migrated database.
        upstream_url: the upstream's base URL; None for a product without an upstream key.
        surface: the operations that are open.
        settings: further settings by field name.

    """
    with tempfile.TemporaryDirectory() as folder:
        values: dict[str, Any] = {"data_dir": Path(folder), **settings}
        async with _serving(product_app(dsn, upstream_url, surface, **values)) as url:
            yield url


@asynccontextmanager
async def _serving(app: FastAPI) -> AsyncGenerator[str]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = build_config(lambda: app)  # pyright: ignore[reportArgumentType] - ASGI
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    # Not `serve()`, which looks ten times a second whether it is to stop, and takes the signals
    # that are meant for whoever runs the tests.
    await server.startup(sockets=[listener])
    if not server.started:
        msg = "the server stopped before it was ready"
        raise RuntimeError(msg)
    _ = await server.on_tick(0)  # which knows the date
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.shutdown(sockets=[listener])
