"""What both small servers of this command share: a port of their own, threads, and no chatter."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator


class QuietHandler(BaseHTTPRequestHandler):
    """Answers requests without writing about them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base
        pass


class Listener(ThreadingHTTPServer):
    """A server whose handlers find what they need as `self.server.purpose`."""

    daemon_threads = True

    def __init__(self, handler: type[QuietHandler], purpose: object) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.purpose = purpose

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave in the middle: some always do."""


@contextmanager
def listening(handler: type[QuietHandler], purpose: object) -> Generator[str]:
    """Serve; yields the URL, without a path."""
    listener = Listener(handler, purpose)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
