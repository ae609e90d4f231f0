"""Serves the sandbox on a socket: in a thread beside the proxy, or as a process of its own.

In a thread it has its own event loop, so that a busy proxy and its upstream do not share one.
"""

from __future__ import annotations

import socket
import threading
from typing import Self

import uvicorn

from tokenbalance.openai.tokens import load
from tokenbalance.sandbox.app import create_sandbox

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
LOCALHOST = "127.0.0.1"


class Sandbox:
    """A sandbox that is being served until `stop()`."""

    def __init__(self, server: _Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name="tokenbalance-sandbox", daemon=True
        )
        self.port: int = listener.getsockname()[1]
        self.base_url = f"http://{LOCALHOST}:{self.port}/v1"

    def __enter__(self) -> Self:
        """Nothing to do: it is served already."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop serving."""
        self.stop()

    def start(self) -> None:
        """Serve, and return when requests are answered.

        Raises:
            RuntimeError: the server did not start.
        """
        self._thread.start()
        if not self._server.ready.wait(START_TIMEOUT_S):
            message = "the sandbox did not start"
            raise RuntimeError(message)

    def stop(self) -> None:
        """Stop serving, whatever is still being answered. Again is harmless."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(STOP_TIMEOUT_S)
        self._listener.close()


class _Server(uvicorn.Server):
    """Says when it is ready, which uvicorn's own server can only be polled for."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def serve_in_thread(port: int = 0) -> Sandbox:
    """Serve the sandbox on 127.0.0.1 in a daemon thread; port 0 takes any free one.

    Raises:
        OSError: the port is taken.
    """
    listener = _listen(LOCALHOST, port)
    sandbox = Sandbox(_Server(_config(log_level="critical")), listener)
    sandbox.start()
    return sandbox


def run(host: str = LOCALHOST, port: int = 8001) -> None:
    """Serve the sandbox until the process is told to stop.

    Raises:
        OSError: the address is taken.
    """
    # Before the port answers, so that the first answer does not wait for it.
    load()
    with _listen(host, port) as listener:
        uvicorn.Server(_config(log_level="warning")).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), backlog=2048)


def _config(log_level: str) -> uvicorn.Config:
    return uvicorn.Config(
        create_sandbox(),
        lifespan="off",
        log_level=log_level,
        # The level alone: the process' own logging is set up elsewhere.
        log_config=None,
        access_log=False,
        # A stalled answer would wait for its client for ever.
        timeout_graceful_shutdown=1,
        server_header=False,
        date_header=True,
    )
