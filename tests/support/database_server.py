"""A Postgres that may be stopped, frozen and restarted, and a silent link to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

import asyncpg
import pytest

from tests.support.postgres import start_cluster
from tokenbalance.postgres.connection import dsn_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Generator,
    )

    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres


linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")


LIMIT_S = 3.0
"""What a refusal may take, and what a recovery may."""


SOON_S = 0.4
"""A deadline for tests that must run into one."""


PATIENCE_S = 20.0


SIZE = 4


@dataclass
class Server:
    """A cluster of these tests' own, which may be stopped, restarted and misled."""

    folder: Path
    cluster: EmbeddedPostgres

    @property
    def address(self) -> Path:
        """Where its socket's folder is, whatever that is called since the last start."""
        return self.folder / "socket"

    @property
    def dsn(self) -> str:
        return dsn_of(self.address)

    def move_in(self) -> None:
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(self.cluster.socket_folder)

    def stop(self) -> None:
        self.cluster.stop()

    def start(self) -> None:
        self.cluster = start_cluster(self.folder)
        self.move_in()

    def processes(self) -> list[int]:
        """Find everything that runs in the cluster, the one that starts the others first."""
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink().is_relative_to(self.folder):
                    found.append(int(process.name))
        return sorted(found)

    def send(self, number: int) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        """Keep every process from answering, with all of its connections open."""
        try:
            self.send(signal.SIGSTOP)
            self.send(signal.SIGSTOP)  # what was being started meanwhile
            yield
        finally:
            self.send(signal.SIGCONT)

    @contextlib.contextmanager
    def asking_for_passwords(self, role: str) -> Generator[None]:
        """Change the rules of who may come in; the server reads them when it is told to."""
        rules = self.folder / "postgres" / "pgdata" / "pg_hba.conf"
        original = rules.read_text()
        rules.write_text(f"local all {role} scram-sha-256\n{original}")
        try:
            yield
        finally:
            rules.write_text(original)


class Link:
    """A TCP way to the server that can fall silent: it takes every byte and passes none on."""

    def __init__(self, address: Path) -> None:
        self.silent = False
        """Of the connections that there will be."""
        self.connections = 0
        self._address = address
        self._muted: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@{self.host}/tokenbalance?sslmode=disable"

    def mute(self) -> None:
        """Let the open connections lead nowhere, without an end that anybody could see."""
        self._muted |= self._open

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            self._muted.add(writer)
        there, back = await asyncio.open_unix_connection(self._address / ".s.PGSQL.5432")
        self._open.add(back)
        await asyncio.gather(self._pass(reader, back, writer), self._pass(there, writer, writer))

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if client not in self._muted:
                    target.write(data)
        target.close()


async def until(condition: Callable[[], Awaitable[object] | bool], what: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while True:
        response = condition()
        if response is True or (not isinstance(response, bool) and await response):
            return
        if monotonic() > deadline:
            pytest.fail(f"still not so after {PATIENCE_S} s: {what}")
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def within(limit_s: float) -> Generator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < limit_s


async def fill(pool: Pool) -> None:
    """Have every connection that the pool may make, all of them idle."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SIZE):
            await stack.enter_async_context(pool.acquire(LIMIT_S))


async def timed_out(pool: Pool, statement: str = "SELECT 1", deadline_s: float = SOON_S) -> None:
    with within(deadline_s + LIMIT_S), pytest.raises(TimeoutError):
        await pool.fetchrow(statement, deadline_s=deadline_s)


@contextlib.asynccontextmanager
async def database_with(server: Server, setting: str) -> AsyncGenerator[None]:
    """Change what new sessions of the database begin with."""
    session = await asyncpg.connect(dsn_of(server.address, "postgres"))
    try:
        await session.execute(f"ALTER DATABASE tokenbalance SET {setting}")
        yield
    finally:
        await session.execute("ALTER DATABASE tokenbalance RESET ALL")
        await session.close()
