"""Serves the sandbox on a socket: in a thread of the proxy's process, or in its own process.

The thread has its own event loop, so that a busy proxy and its upstream do not share one.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import Self

import uvicorn

from tokenbalance.openai.tokens import load
from tokenbalance.sandbox.app import create_sandbox

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
LOCALHOST = "127.0.0.1"
_CUT = "ASGI callable returned without completing response."
"""What uvicorn logs as an error where the sandbox cuts a response, which it was asked to do."""


class Sandbox:
    """A sandbox that is served until `stop()`."""

    def __init__(self, server: _Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name="tokenbalance-sandbox", daemon=True
        )
        self.port: int = listener.getsockname()[1]
        self.base_url = f"http://{LOCALHOST}:{self.port}/v1"

    def __enter__(self) -> Self:
        """Do nothing: it is already served."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop serving."""
        self.stop()

    def start(self) -> None:
        """Start to serve, and return when requests are accepted.

        Raises:
            RuntimeError: the server did not start.
        """
        self._thread.start()
        if not self._server.ready.wait(START_TIMEOUT_S):
            message = "the sandbox did not start"
            raise RuntimeError(message)

    def stop(self) -> None:
        """Stop serving, even with requests in progress. Harmless if already stopped."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(STOP_TIMEOUT_S)
        self._listener.close()


class _Server(uvicorn.Server):
    """Signals when it is ready; uvicorn's own server would have to be polled."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def serve_in_thread(port: int = 0) -> Sandbox:
    """Serve the sandbox on 127.0.0.1 in a daemon thread; port 0 is any free port.

    Raises:
        OSError: the port is taken.
    """
    listener = _listen(LOCALHOST, port)
    sandbox = Sandbox(_Server(_config(log_level="critical")), listener)
    sandbox.start()
    return sandbox


def run(host: str = LOCALHOST, port: int = 8001) -> None:
    """Serve the sandbox until the process gets a signal to stop.

    Raises:
        OSError: the address is taken.
    """
    # Before the port is open, so that the first response does not wait for it.
    load()
    with _listen(host, port) as listener:
        uvicorn.Server(_config(log_level="warning")).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), backlog=2048)


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's is about anything but a response that was cut on demand."""
    return record.msg != _CUT


def _config(log_level: str) -> uvicorn.Config:
    # Adding it again changes nothing.
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
    return uvicorn.Config(
        create_sandbox(),
        lifespan="off",
        log_level=log_level,
        # Only the level: logging is configured elsewhere.
        log_config=None,
        access_log=False,
        # A stalled response would wait for its client forever.
        timeout_graceful_shutdown=1,
        server_header=False,
        date_header=True,
    )
