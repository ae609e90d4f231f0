"""What a build takes before it has done anything: memory at rest, and the time of `--help`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from benchmarks.speed.figures import Figures
from benchmarks.start import rest, run

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.compare.builds import Build

_COMMAND: Final = ("--help",)


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
