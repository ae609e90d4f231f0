"""The only way to other hosts that a client is given: a proxy that refuses, and notes who asked."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, cast

from tests.clients.listening import Listener, QuietHandler, listening

if TYPE_CHECKING:
    from collections.abc import Generator


class Elsewhere:
    """Hosts that clients asked for, since the last look."""

    def __init__(self) -> None:
        self.url = ""
        self._hosts: list[str] = []
        self._lock = threading.Lock()

    def note(self, host: str) -> None:
        """Remember a host."""
        with self._lock:
            self._hosts.append(host)

    def asked_for(self) -> list[str]:
        """Tell the hosts, each once in their order, and forget them."""
        with self._lock:
            hosts, self._hosts = self._hosts, []
        return list(dict.fromkeys(hosts))


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        self._refuse(self.path.rpartition(":")[0])

    def do_GET(self) -> None:
        self._refuse(self.path.partition("://")[2].partition("/")[0])

    def do_POST(self) -> None:
        self.do_GET()

    def _refuse(self, host: str) -> None:
        cast("Elsewhere", cast("Listener", self.server).purpose).note(host)
        self.send_response(403)
        self.send_header("content-length", "0")
        self.send_header("connection", "close")
        self.end_headers()


@contextmanager
def no_way_elsewhere() -> Generator[Elsewhere]:
    """Serve such a proxy."""
    elsewhere = Elsewhere()
    with listening(_Handler, elsewhere) as url:
        elsewhere.url = url
        yield elsewhere
