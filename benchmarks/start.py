"""What the product takes before it has done anything: memory at rest, and the time of commands.

    python -m benchmarks.start [BASE] [--times 7]

Prints the memory (Pss) of `serve` at rest with its embedded Postgres, with one worker and with two,
and what commands take that touch no database. BASE is a commit, or a checkout that has a `.venv`:
it is measured in the same run, in turns. Takes a minute. Exits with 1 if something does not start.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare.builds import Build, base_build, this_tree
from benchmarks.processes import children_of, command_of
from benchmarks.replicas import Replica
from benchmarks.speed.accounting import Tree
from benchmarks.speed.machine import describe, free_port
from benchmarks.speed.programs import NotStarted
from benchmarks.verdict import conclude, say

TIMES: Final = 7
WORKERS: Final = (1, 2)
COMMANDS: Final = (("--help",), ("key", "--help"), ("models", "list"))
_LIMIT_S: Final = 60.0
_REST_S: Final = 1.0
_LOOKS: Final = 15
_SAME: Final = 0.005
"""What memory at rest may vary by from one look to the next."""
_PROGRAM: Final = "import sys; from tokenbalance.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Took:
    """What a command took, in milliseconds."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Rested:
    """The memory of a server at rest, in MiB."""

    server: float
    postgres: float


async def rest(build: Build, workers: int, folder: Path) -> Rested:
    """Start a server, and return its memory once that does not change any more.

    Raises:
        TimeoutError: it does not start.

    """
    settings = {"OPENAI_API_KEY": "sk-upstream", "TOKENBALANCE_SHUTDOWN_S": "2"}
    replica = Replica(folder, settings, workers, free_port(), python=build.python)
    try:
        await replica.start()
        root = replica.processes()[0]
        postgres = next(pid for pid in children_of(root) if "postgres" in command_of(pid))
        server, database = Tree(root, without=postgres), Tree(postgres)
        now, before = server.pss_kib(), 0
        for _ in range(_LOOKS):
            if abs(now - before) <= now * _SAME:
                break
            await asyncio.sleep(_REST_S)
            now, before = server.pss_kib(), now
        return Rested(now / 1024, database.pss_kib() / 1024)
    finally:
        _ = await replica.stop()


def run(build: Build, arguments: tuple[str, ...]) -> Took:
    """Run a command that has to succeed.

    Raises:
        NotStarted: it failed.

    """
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(  # noqa: S603 - the commands are those above
        [build.python, "-c", _PROGRAM, *arguments],
        stdout=subprocess.DEVNULL,
        check=False,
        timeout=_LIMIT_S,
    )
    wall, after = time.perf_counter() - began, os.times()
    if done.returncode != 0:
        msg = f"`tokenbalance {' '.join(arguments)}` of {build.name} failed"
        raise NotStarted(msg)
    user, system = (after[at] - before[at] for at in (2, 3))
    return Took(wall * 1000, (user + system) * 1000)


async def measure(base: str | None, times: int, folder: Path) -> list[str]:
    """Measure everything and print it; returns what did not start."""
    say(describe())
    try:
        builds = [await this_tree(folder / "here")]
        if base is not None:
            builds.insert(0, await base_build(base, folder / "base"))
        for workers in WORKERS:
            for number, build in enumerate(builds):
                rested = await rest(build, workers, folder / f"{workers}-{number}")
                total = rested.server + rested.postgres
                memory = f"{total:7.0f} MiB, {rested.postgres:.0f} MiB of them Postgres's"
                say(f"{f'at rest, workers: {workers}':20}  {build.name:20}{memory}")
        for arguments in COMMANDS:
            _show(arguments, builds, times)
    except (NotStarted, TimeoutError) as error:
        return [f"something did not start: {error}"]
    return []


def _show(arguments: tuple[str, ...], builds: list[Build], times: int) -> None:
    """Run a command of every build in turns, and print the medians."""
    took: dict[str, list[Took]] = {build.name: [] for build in builds}
    for number in range(times + 1):
        for build in builds if number % 2 else reversed(builds):
            once = run(build, arguments)
            if number:  # The first one reads files that are in no cache yet.
                took[build.name].append(once)
    for name, runs in took.items():
        wall, cpu = (statistics.median(each) for each in zip(*map(_both, runs), strict=True))
        say(f"{' '.join(arguments):20}  {name:20}{wall:7.0f} ms, {cpu:.0f} ms of CPU time")


def _both(took: Took) -> tuple[float, float]:
    return took.wall, took.cpu


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("base", metavar="BASE", nargs="?", help="a commit, or a checkout")
    _ = parser.add_argument("--times", type=int, default=TIMES, help="of each command")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-start-"))
    return conclude(asyncio.run(measure(given.base, max(given.times, 1), folder)), folder)


if __name__ == "__main__":
    sys.exit(main())
