"""Processes that use an embedded Postgres, and a look at its folders and processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which takes root")


DEADLINE_S = 20.0


SOURCE = str(Path(__file__).parents[2] / "src")


# What a plain interpreter needs to be as good as ours.
PACKAGES = os.pathsep.join((SOURCE, str(Path(asyncpg.__file__).parents[1])))


# Another process with the server in it: says `owned dsn`, then waits to be told to stop.
PROCESS = """
import sys
from pathlib import Path
from tokenbalance.postgres import EmbeddedPostgres, EmbeddedPostgresError
try:
    server = EmbeddedPostgres.start_or_attach(
        Path(sys.argv[1]), exclusive=sys.argv[2] == "serve", durable="durable" in sys.argv)
except EmbeddedPostgresError as error:
    sys.exit(str(error))
with server:
    print(server.owned, server.dsn, flush=True)
    sys.stdin.read()
"""


@dataclass
class Process:
    """`serve` or a command on a data folder, as a process of its own."""

    popen: subprocess.Popen[str]

    def ready(self) -> tuple[bool, str]:
        """Wait for the server: whether this process owns it, and its DSN."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            pytest.fail(f"the process ended: {self.popen.communicate()[1]}")
        owned, dsn = line.split()
        return owned == "True", dsn

    def tell_to_stop(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def stop(self) -> None:
        self.tell_to_stop()
        assert self.popen.wait(DEADLINE_S) == 0

    def end(self) -> None:
        """Stop, if it still runs, whatever has become of it."""
        self.tell_to_stop()
        try:
            _ = self.popen.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.popen.kill()
        _ = self.popen.wait(DEADLINE_S)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {DEADLINE_S} s: {what}")
        time.sleep(0.02)


def postgres_processes(folder: Path) -> list[int]:
    """Everything that runs inside the cluster, postmaster or not."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def owner_of(path: Path) -> int:
    return path.stat().st_uid


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def postmaster(folder: Path) -> int:
    return int((folder / "pgdata" / "postmaster.pid").read_text().split()[0])


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def python_for(user: int) -> str:
    """An interpreter that a plain user can run, with our packages; root's may lie in its home."""
    for python in (sys.executable, *sorted(str(p) for p in Path("/usr/bin").glob("python3*"))):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _ = subprocess.run(
                [python, "-c", "import asyncpg, tokenbalance"],
                user=user,
                group=user,
                env={"PYTHONPATH": PACKAGES},
                check=True,
                capture_output=True,
                timeout=DEADLINE_S,
            )
            return python
    pytest.skip("no Python of this version outside root's closed home, so no plain user can run it")
