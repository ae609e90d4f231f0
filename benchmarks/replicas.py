"""Replicas of the product as an operator runs them: `tokenbalance serve` with several workers.

Each has its own data folder, port and log, and is started again like a service would be: until it
listens. Ends only processes that it started, by their numbers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.processes import children_of, command_of, send

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_S: Final = 90.0
_AGAIN_S: Final = 0.5
_GIVEN: Final[set[int]] = set()
_READY: Final = b"listening on "
_OURS: Final = ("OPENAI_", "DATABASE_", "TOKENBALANCE_", "HOST", "PORT", "WEB_CONCURRENCY", "LOG_")


@dataclass(slots=True)
class Replica:
    """One `tokenbalance serve`; started, stopped and killed as often as wanted."""

    folder: Path
    settings: Mapping[str, str]
    """The variables of the product, except those that are set here."""
    workers: int = 2
    port: int = 0
    """0 takes a free one, for good."""
    python: str = sys.executable
    """The interpreter of the venv in which the product is installed."""
    starts: int = 0
    """How often it was started, until it listened."""
    _process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or _free_port()

    @property
    def url(self) -> str:
        """Where it listens; the same after every start."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it said, of every start."""
        return self.folder / "serve.log"

    async def start(self) -> None:
        """Start until it listens: the database may not be there yet.

        Raises:
            TimeoutError: it never did.

        """
        async with asyncio.timeout(START_S):
            started = await self._started()
            while not started:
                await asyncio.sleep(_AGAIN_S)
                started = await self._started()

    async def stop(self) -> int:
        """End it as an operator would; returns its exit code, killing it when it takes too long."""
        if self._process is None:
            return 0
        send(signal.SIGTERM, [self._process.pid])
        try:
            async with asyncio.timeout(START_S):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL

    async def kill(self) -> None:
        """Kill every process of it at once."""
        send(signal.SIGKILL, self.processes())
        if self._process is not None:
            _ = await self._process.wait()

    def processes(self) -> list[int]:
        """List the process that was started, and its children."""
        if self._process is None or self._process.returncode is not None:
            return []
        return [self._process.pid, *children_of(self._process.pid)]

    def worker_pids(self) -> list[int]:
        """List the workers that run now."""
        supervisor, *others = self.processes() or [0]
        # A copy of the supervisor, or, where that cannot be copied, a process of its own.
        own = command_of(supervisor)
        commands = {pid: command_of(pid) for pid in others}
        return [pid for pid, its in commands.items() if its == own or "spawn_main" in its]

    async def _started(self) -> bool:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self.python, "-m", "tokenbalance.cli", "serve"),
                *("--port", str(self.port), "--workers", str(self.workers)),
                cwd=self.folder,
                env=self._environment(),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout
        self.starts += 1
        line = await self._process.stdout.readline()
        if line.startswith(_READY):
            return True
        _ = await self._process.wait()
        return False

    def _environment(self) -> dict[str, str]:
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
        folder = str(self.folder / "data")
        return {**inherited, "TOKENBALANCE_DATA_DIR": folder, "LOG_FORMAT": "json", **self.settings}


async def start_all(replicas: list[Replica]) -> None:
    """Start several, one after the other as a careful operator does."""
    for replica in replicas:
        await replica.start()


async def kill_all(replicas: list[Replica]) -> None:
    """Kill every process of several."""
    _ = await asyncio.gather(*(replica.kill() for replica in replicas))


def _free_port() -> int:
    """Find a port that nobody listens at, nor any other replica of this run will."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port
