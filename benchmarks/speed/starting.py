"""What a build takes without any load: memory at rest, the time of `--help`, reading a body."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Final

from benchmarks.speed.figures import Figures
from benchmarks.speed.programs import NotStarted
from benchmarks.start import rest, run

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.compare.builds import Build

_COMMAND: Final = ("--help",)
_LIMIT_S: Final = 60.0
_READ: Final = """
import statistics, sys, time
from tokenbalance.model import OPENAI
from tokenbalance.openai.operations import OPERATIONS
from tokenbalance.proxy.asked import read_document
operation = next(each for each in OPERATIONS if each.path == "/embeddings")
body, took = sys.stdin.buffer.read(), []
for _ in range(50):
    began = time.thread_time()
    read_document(operation, body, OPENAI)
    took.append(time.thread_time() - began)
print(statistics.median(took) * 1e6)
"""


async def measure_rest(build: Build, folder: Path) -> Figures:
    """Start a server with its Postgres, and return the memory of both at rest.

    Raises:
        NotStarted: it does not start.

    """
    rested = await rest(build, 1, folder)
    return Figures(kib=(rested.server + rested.postgres) * 1024)


async def measure_help(build: Build) -> Figures:
    """Run the command that needs nothing.

    Raises:
        NotStarted: it failed.

    """
    took = await asyncio.to_thread(run, build, _COMMAND)
    return Figures(cpu_us=took.cpu * 1000, p50_ms=took.wall)


async def measure_reading(build: Build, body: bytes) -> Figures:
    """Read a request for embeddings strictly and bound it, as a server does in one of its threads.

    Whatever holds the interpreter's lock for so long stops the event loop.

    Raises:
        NotStarted: it failed.

    """
    return await asyncio.to_thread(_read, build, body)


def _read(build: Build, body: bytes) -> Figures:
    done = subprocess.run(  # noqa: S603 - the interpreter of a build
        [build.python, "-c", _READ], input=body, capture_output=True, check=False, timeout=_LIMIT_S
    )
    if done.returncode != 0:
        msg = f"{build.name} cannot read a body: {done.stderr.decode()[-200:]}"
        raise NotStarted(msg)
    return Figures(cpu_us=float(done.stdout))
