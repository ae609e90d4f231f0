"""A server in a process of its own that may have few file descriptors; run as a program.

    python -m tests.support.crowded_server LOOP SOFT HARD

Its application answers `/limit` with the limit, `/held` when `/let-go` is asked, and takes and
gives back every free descriptor on `/take` and `/give-back`. Idle connections stay for longer than
usual, so that they do not close by themselves on a slow machine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from tokenbalance.wire.server import lifecycle
from tokenbalance.wire.server.protocol import HttpProtocol
from tokenbalance.wire.server.run import run

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from uvicorn._types import ASGIApplication

LONGER = 12
"""Than usual; all alike, because who leaves first depends on the share of it that is over."""


class Application:
    """What the tests ask."""

    def __init__(self) -> None:
        self._let_go = asyncio.Event()
        self._taken: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body = await self._do(scope["path"])
        status = 401 if scope["path"] == "/stranger" else 200
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _do(self, path: str) -> bytes:
        if path == "/limit":
            return b"%d" % resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if path == "/held":
            await self._let_go.wait()
        elif path == "/let-go":
            self._let_go.set()
        elif path == "/take":
            with suppress(OSError):
                while True:
                    self._taken.append(os.open(os.devnull, os.O_RDONLY))
        elif path == "/give-back":
            while self._taken:
                os.close(self._taken.pop())
        return b"ok"


def _find_nothing(_name: str, _package: str | None = None) -> None:
    """As if uvloop were not installed."""


if __name__ == "__main__":
    loop, soft, hard = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
    logging.basicConfig(level="WARNING")
    if loop == "asyncio":
        importlib.util.find_spec = _find_nothing
    HttpProtocol.head_timeout_s *= LONGER
    lifecycle.KEEP_ALIVE_S *= LONGER
    sys.exit(run(lambda: cast("ASGIApplication", Application()), port=0))
