"""The mock server of the SDK's own scripts, with the options that those give it."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx2

from tests.clients.children import end
from tests.clients.product import Broken

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_START_S: Final = 60.0
_OPTIONS: Final = (
    "--log=false",
    "--validator-query-array-format=brackets",
    "--validator-form-array-format=brackets",
    "--validator-query-object-format=brackets",
    "--validator-form-object-format=brackets",
)


@contextmanager
def mocked(command: Path, document: Path) -> Generator[str]:
    """Serve a document; yields the URL.

    Raises:
        Broken: the server did not start in time.
    """
    port = _free_port()
    log = document.with_suffix(".log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            (str(command), str(document), "--host", "127.0.0.1", "-p", str(port), *_OPTIONS),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, url, log)
        yield url
    finally:
        end(server)


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx2.get(f"{url}/_x-steady/health", timeout=5, trust_env=False)
        except httpx2.TransportError:
            time.sleep(0.2)
        else:
            return
    raise Broken(log.read_text("utf-8", "replace")[-1000:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
