"""A Postgres that a command may stop, restart, freeze and kill; durable, as an operator has it.

The kernel ties the server's life to the thread that started it, so it gets a process of its own,
this file run as a script, which starts it again on request and ends it when its input ends.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.processes import children_of, send
from tokenbalance.postgres.account import server_account
from tokenbalance.postgres.binaries import find_binaries
from tokenbalance.postgres.cluster import Cluster
from tokenbalance.postgres.connection import dsn_of
from tokenbalance.postgres.socket_folder import private_folder, remove_folder

RESPONSE_S: Final = 90.0
"""Crash recovery included."""
_READY: Final = b"ready\n"


class Database:
    """One cluster, and the process that owns its server."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._socket_folder = private_folder(server_account(folder))
        self._owner: asyncio.subprocess.Process | None = None

    @property
    def dsn(self) -> str:
        """Where it is; the same after every start."""
        return dsn_of(self._socket_folder)

    async def start(self) -> None:
        """Start the server and wait until it can be reached."""
        self._owner = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.database"),
            *(str(self._folder), str(self._socket_folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._until_ready()

    async def restart(self) -> None:
        """Shut down fast, as an operator does, and start again."""
        assert self._owner
        assert self._owner.stdin
        self._owner.stdin.write(b"restart\n")
        await self._until_ready()

    async def stop(self) -> None:
        """End the server and what belongs to it; kills what does not end."""
        if self._owner is not None and self._owner.returncode is None:
            assert self._owner.stdin
            self._owner.stdin.close()
            try:
                async with asyncio.timeout(RESPONSE_S):
                    _ = await self._owner.wait()
            except TimeoutError:
                await self.kill()
        remove_folder(self._socket_folder)

    async def kill(self) -> None:
        """Kill every process of it."""
        send(signal.SIGKILL, self.processes())
        if self._owner is not None:
            _ = await self._owner.wait()
        for left in self._socket_folder.glob(".s.PGSQL.*"):
            # It names a process that may not have been reaped yet, or by then any other.
            left.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop all its processes: no response, no refusal."""
        send(signal.SIGSTOP, self._servers())

    def thaw(self) -> None:
        """Let it run again."""
        send(signal.SIGCONT, self._servers())

    def processes(self) -> list[int]:
        """List the owner, the server, and the server's own processes."""
        owner = (
            [] if self._owner is None or self._owner.returncode is not None else [self._owner.pid]
        )
        return [*owner, *self._servers()]

    def _servers(self) -> list[int]:
        if self._owner is None or self._owner.returncode is not None:
            return []
        servers = children_of(self._owner.pid)
        return [*servers, *(child for server in servers for child in children_of(server))]

    async def _until_ready(self) -> None:
        assert self._owner
        assert self._owner.stdout
        async with asyncio.timeout(RESPONSE_S):
            line = await self._owner.stdout.readline()
        if line != _READY:
            msg = "the database did not start"
            raise RuntimeError(msg)


def _own(folder: Path, socket_folder: Path) -> None:
    cluster = Cluster(folder, find_binaries(None), durable=True)
    cluster.prepare()
    try:
        cluster.start(socket_folder)
        _say_ready()
        for _ in sys.stdin:
            cluster.stop()
            cluster.start(socket_folder)
            _say_ready()
    finally:
        cluster.stop()


def _say_ready() -> None:
    _ = sys.stdout.write(_READY.decode())
    sys.stdout.flush()


if __name__ == "__main__":
    # Ctrl-C is for the command, which ends this process by closing its input.
    _ = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        _own(*map(Path, sys.argv[1:]))
