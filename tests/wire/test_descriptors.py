"""What a server does when its file descriptors run out, on both event loops."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.server_process import serving_process

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from tests.support.server_process import ServerProcess

LIMIT = 512
REPOSITORY = Path(__file__).parents[2]
SOME_S = 5.0
"""For one response or connection; a flood may well take it from somebody."""
PATIENCE_S = 15.0
"""Shorter than the server's time for a head, after which connections would close by themselves."""
WARNING = "New connections cannot be accepted"

on_both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@asynccontextmanager
async def crowded(
    folder: Path, loop: str, soft: int = LIMIT, hard: int = LIMIT
) -> AsyncGenerator[ServerProcess]:
    command = (sys.executable, "-m", "tests.support.crowded_server", loop, str(soft), str(hard))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    async with serving_process(folder, environment, command=command) as server:
        yield server


@contextmanager
def connected(server: ServerProcess) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOME_S) as client:
        yield client


def begin(client: socket.socket, path: str) -> None:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def ask(client: socket.socket, path: str) -> str | None:
    """The body of the response; None if there is none."""
    try:
        begin(client, path)
        received = client.recv(4096).decode()
    except (ConnectionError, TimeoutError):
        return None
    return received.rpartition("\r\n\r\n")[2] if received else None


def is_open(client: socket.socket) -> bool:
    client.settimeout(0.01)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    finally:
        client.settimeout(SOME_S)


def until(condition: Callable[[], object]) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def ask_anew(server: ServerProcess, path: str = "/limit") -> str | None:
    with connected(server) as client:
        return ask(client, path)


def flood(stack: ExitStack, server: ServerProcess, count: int) -> None:
    for _ in range(count):
        stack.enter_context(connected(server)).sendall(b"GET / HT")


@on_both_loops
async def test_the_limit_is_raised_to_the_hard_one(tmp_path: Path, loop: str) -> None:
    async with crowded(tmp_path, loop, soft=LIMIT // 2) as server:
        assert ask_anew(server) == str(LIMIT)


@on_both_loops
async def test_a_flood_of_idle_connections_keeps_nobody_out(tmp_path: Path, loop: str) -> None:
    async with crowded(tmp_path, loop) as server:
        with ExitStack() as stack:
            first = stack.enter_context(connected(server))
            flood(stack, server, LIMIT // 2)
            customer = stack.enter_context(connected(server))
            assert ask(customer, "/limit")
            flood(stack, server, LIMIT // 2)
            until(lambda: flood(stack, server, 8) or not is_open(first))
            # Who was served may be idle for longer than those who never sent a request.
            assert ask(customer, "/limit") == str(LIMIT)
            flood(stack, server, 2 * LIMIT)
            until(lambda: ask_anew(server) == str(LIMIT))


@on_both_loops
async def test_a_server_that_is_full_of_requests_warns_once_and_serves_when_they_end(
    tmp_path: Path, loop: str
) -> None:
    async with crowded(tmp_path, loop) as server:
        with ExitStack() as stack:
            clients = [stack.enter_context(connected(server)) for _ in range(LIMIT // 2)]
            for client in clients:
                begin(client, "/held")
            for _ in range(LIMIT):
                begin(stack.enter_context(connected(server)), "/held")
            until(lambda: WARNING in server.log.read_text("utf-8"))
            assert all(is_open(client) for client in clients)
        until(lambda: ask_anew(server) == str(LIMIT))
        log = server.log.read_text("utf-8")
        assert log.count(WARNING) == 1
        assert "Traceback" not in log


@on_both_loops
async def test_a_failing_accept_is_one_warning_and_ends_by_itself(
    tmp_path: Path, loop: str
) -> None:
    async with crowded(tmp_path, loop) as server:
        with ExitStack() as stack:
            customer = stack.enter_context(connected(server))
            idle = [stack.enter_context(connected(server)) for _ in range(LIMIT // 2)]
            assert ask(customer, "/take") == "ok"
            kept_out = stack.enter_context(connected(server))
            until(lambda: WARNING in server.log.read_text("utf-8"))
            # Those who only wait make room, although no new connection can ask for it.
            until(lambda: not all(is_open(client) for client in idle))
            kept_out.close()
            begin(customer, "/give-back")
        until(lambda: ask_anew(server) == str(LIMIT))
        log = server.log.read_text("utf-8")
        assert log.count(WARNING) == 1
        assert "Traceback" not in log
