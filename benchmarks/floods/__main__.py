"""What a second user notices while somebody floods the product: its latency during each attack.

    python -m benchmarks.floods [BASE] [--only slow-bodies,sign-ins] [--seconds 10] [--rounds 1]

With BASE, a commit or the path of a checkout that has a `.venv`, that build is attacked in turns
with this tree. What is done and measured is in `docs/benchmarks.md`. It takes about two and a half
minutes for each build and round, an hour at most. It exits with 1 if this tree failed the other
user, gave an attacker a successful response, or its books are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from benchmarks.compare.builds import ROOT, base_build, this_tree, verify_books
from benchmarks.floods.attacks import KINDS, MIB
from benchmarks.floods.neighbour import Experience, live_beside
from benchmarks.markdown import lay_out
from benchmarks.processes import resident_bytes
from benchmarks.speed.machine import (
    cores_for,
    describe,
    free_port,
    move_to,
    raise_open_files,
)
from benchmarks.speed.product import serve_build
from benchmarks.speed.programs import NotStarted, end
from benchmarks.speed.subjects import Place, Unavailable
from benchmarks.speed.tools import UpstreamSeat, compile_tools
from benchmarks.verdict import breaches_of, conclude, say

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from benchmarks.compare.builds import Build
    from benchmarks.floods.attacks import Kind
    from benchmarks.speed.subjects import Subject

HERE: Final = "this tree"
SECONDS: Final = 10.0
LIMIT_S: Final = 3600.0
OPEN_FILES: Final = 1024
"""Of each product: what many systems give a service."""
_RESPONSE: Final = ("--json", "1024")
_BEFORE_S: Final = 1.0
"""The other user comes this much later than the attack, which by then is under way."""
_WARM_UP_S: Final = 3.0
_SAMPLE_S: Final = 0.1
_LATE_S: Final = 30.0
_QUIET_S: Final = 2.0
"""Between two attacks, so that one does not pay for what is left of another."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for."""

    base: str | None
    kinds: Mapping[str, Kind]
    seconds: float
    rounds: int


def read_arguments() -> Given:
    """Read the arguments; ends the process when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floods",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("base", metavar="BASE", nargs="?", help="a commit, or a checkout")
    _ = parser.add_argument("--only", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    _ = parser.add_argument("--seconds", type=float, default=SECONDS, help="of most attacks")
    _ = parser.add_argument("--rounds", type=int, default=1, help="how often all is done")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := {*names} - {*KINDS}:
        parser.error(f"no attacks are called {', '.join(sorted(unknown))}")
    kinds = {name: kind for name, kind in KINDS.items() if name in names}
    return Given(given.base, kinds, given.seconds, given.rounds)


@dataclass(slots=True)
class Seen:
    """What happened during one kind of attack, in all rounds."""

    experience: Experience = field(default_factory=Experience)
    memory_bytes: int = 0
    """By which the product grew, at most."""
    outcomes: Counter[str] = field(default_factory=Counter)

    def cells(self) -> tuple[str, ...]:
        """Write it as the table does."""
        of = self.experience
        return (
            f"{of.quantile_ms(0.5):,.1f}",
            f"{of.quantile_ms(0.99):,.1f}",
            f"{of.quantile_ms(1):,.1f}",
            str(of.failed),
            f"{self.memory_bytes / MIB:,.0f}",
            ", ".join(f"{number} x {how}" for how, number in self.outcomes.most_common() if number),
        )


async def flood(given: Given, folder: Path, cache: Path) -> list[str]:
    """Attack each build in turns and print the table; returns what was wrong."""
    builds = {HERE: await this_tree(folder / "here")}
    if given.base is not None:
        say(f"preparing {given.base}")
        builds = {"base": await base_build(given.base, folder / "base"), **builds}
    tools = await compile_tools(cache)
    rest = cores_for().rest
    seat = UpstreamSeat(tools.upstream, free_port(), folder / "upstream", rest)
    seen = {(name, build): Seen() for name in given.kinds for build in builds}
    machine = describe()
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(seat.responding(_RESPONSE))
            subjects: dict[str, Subject] = {}
            for name, build in builds.items():
                say(f"starting {build.name}")
                place = Place(folder / name.replace(" ", "-"), folder, seat.port, build.python)
                serving = serve_build(place, name, str(_with_few_files(build, place.folder)))
                subjects[name] = await stack.enter_async_context(serving)
                await _warm_up(subjects[name])
            move_to(rest, [os.getpid()])
            for _ in range(given.rounds):
                for kind in given.kinds:
                    say(kind)
                    for name, subject in subjects.items():
                        await _attack(given, kind, subject, seen[kind, name])
            for name, build in builds.items():
                await verify_books(build, folder / name.replace(" ", "-"))
    finally:
        _show(given, seen, machine)
    return list(_wrong(seen))


def _with_few_files(build: Build, folder: Path) -> Path:
    """Write a program that starts the build's interpreter with `OPEN_FILES`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python"
    _ = program.write_text(f'#!/bin/sh\nulimit -n {OPEN_FILES}\nexec "{build.python}" "$@"\n')
    program.chmod(0o700)
    return program


async def _warm_up(subject: Subject) -> None:
    user = subject.keys("users").read_text().split()[0]
    _ = await live_beside(subject.port, user, _WARM_UP_S)


async def _attack(given: Given, name: str, subject: Subject, seen: Seen) -> None:
    kind = given.kinds[name]
    seconds = given.seconds * kind.lasting
    user = subject.keys("users").read_text().split()[0]
    async with _memory_watched(subject, seen), _attacking(name, kind, subject, seconds) as process:
        if process is not None:
            assert process.stdout
            async with asyncio.timeout(_LATE_S):
                _ = await process.stdout.readline()
        await asyncio.sleep(_BEFORE_S)
        seen.experience.add(await live_beside(subject.port, user, seconds - 2 * _BEFORE_S))
        if process is not None:
            async with asyncio.timeout(_LATE_S + seconds):
                output, _ = await process.communicate()
            seen.outcomes.update(json.loads(output or b"{}"))
    await asyncio.sleep(_QUIET_S)


@asynccontextmanager
async def _attacking(
    name: str, kind: Kind, subject: Subject, seconds: float
) -> AsyncGenerator[Process | None]:
    if kind.run is None:
        yield None
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.floods.attacks", name),
        *("--port", str(subject.port), "--seconds", f"{seconds:g}"),
        *("--keys", str(subject.keys(kind.keys))),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    move_to(cores_for().rest, [process.pid])
    try:
        yield process
    finally:
        await asyncio.shield(asyncio.ensure_future(end(process)))


@asynccontextmanager
async def _memory_watched(subject: Subject, seen: Seen) -> AsyncGenerator[None]:
    """Note by how much the product's processes grow meanwhile, without its Postgres."""
    assert subject.tree
    tree = subject.tree

    def resident() -> int:
        return sum(map(resident_bytes, tree.pids()))

    before = resident()

    async def watch() -> None:
        while True:
            seen.memory_bytes = max(seen.memory_bytes, resident() - before)
            await asyncio.sleep(_SAMPLE_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        _ = watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


_HEAD: Final = (
    *("attack", "build", "p50 ms", "p99 ms", "worst ms", "failed", "MiB more", "attackers got"),
)
_TEXT: Final = frozenset({"attack", "build", "attackers got"})


def _show(given: Given, seen: Mapping[tuple[str, str], Seen], machine: str) -> None:
    rows = [
        (given.kinds[kind].what, build, *each.cells())
        for (kind, build), each in seen.items()
        if each.experience.latencies_ms or each.experience.failed
    ]
    say("\n" + "\n".join(lay_out(_HEAD, rows, _TEXT)) + "\n")
    say(f"base: {given.base}; {machine}; {OPEN_FILES} open files; rounds: {given.rounds}")


def _wrong(seen: Mapping[tuple[str, str], Seen]) -> Sequence[str]:
    found: list[str] = []
    for (kind, build), each in seen.items():
        if build != HERE:
            continue
        if each.experience.failed:
            found.append(f"{kind}: {each.experience.failed} requests of the other user failed")
        found += [
            f"{kind}: attackers got {number} responses with {how}"
            for how, number in each.outcomes.items()
            if how.startswith("2") and number
        ]
    return found


def main() -> int:
    """Run the command; returns its exit code."""
    given = read_arguments()
    cache = platformdirs.user_cache_path("tokenbalance-benchmarks", ensure_exists=True)
    raise_open_files()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-floods-"))
    faults = (NotStarted, Unavailable)
    breaches = breaches_of(lambda: flood(given, folder, cache), faults, LIMIT_S)
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())
