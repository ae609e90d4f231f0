"""Measures for how long large bodies stop the event loop, and what another user notices of it.

    python -m benchmarks.large_bodies [--sizes 1,4.6,16,32,64] [--shapes NAME,..] [--rounds 3]

The product runs in this process, beside a task that looks at the clock every millisecond; clients
and upstream run in another one. Each figure is the median of the rounds: the largest gap on the
loop, without and with the time in which other processes had the cores; the worst latency of another
user's chats; how long the large request took. Exits with 1 if a gap is longer than 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from benchmarks.books import database
from benchmarks.large_bodies.shapes import SHAPES
from benchmarks.verdict import say
from tests.support.books import create_holder
from tests.support.product import serving
from tokenbalance.database.connections import open_pool
from tokenbalance.database.migrate import migrate_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

GAP_MAX_MS: Final = 50.0
_LOOK_S: Final = 0.001
_RICH: Final = 10**15
_SETTLE_S: Final = 0.2


@dataclass(slots=True)
class Watchdog:
    """Looks how late the loop is."""

    largest_ms: float = 0.0
    largest_own_ms: float = 0.0
    """As far as this process was running: what other processes do to it is left out."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            began, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(_LOOK_S)
            late = time.perf_counter() - began - _LOOK_S
            self.largest_ms = max(self.largest_ms, late * 1000)
            own = min(late, time.process_time() - used)
            self.largest_own_ms = max(self.largest_own_ms, own * 1000)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one request, in milliseconds."""

    own_gap: float
    gap: float
    other_worst: float
    took: float
    status: int


class Senders:
    """The other process."""

    def __init__(
        self, process: asyncio.subprocess.Process, url: str, keys: tuple[str, str]
    ) -> None:
        self._process: asyncio.subprocess.Process = process
        self._beginning: str = "\t".join([url.rpartition(":")[2], *keys])

    async def ask(self, shape: str, size: float) -> Result:
        """Send one large request."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError
        process.stdin.write(f"{self._beginning}\t{shape}\t{size}\n".encode())
        dog = Watchdog()
        watching = asyncio.create_task(dog.run())
        line = await process.stdout.readline()
        # What is freed at the end belongs to it.
        await asyncio.sleep(_SETTLE_S)
        _ = watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        status, took, worst, _ = line.split(b"\t")
        return Result(dog.largest_own_ms, dog.largest_ms, float(worst), float(took), int(status))


@asynccontextmanager
async def _senders(dsn: str) -> AsyncGenerator[Senders]:
    await migrate_in_thread(dsn)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with open_pool(dsn, 2) as pool:
        keys = (
            (await create_holder(pool, _RICH)).secret,
            (await create_holder(pool, _RICH)).secret,
        )
    async with serving(dsn, f"http://127.0.0.1:{port}/v1") as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.large_bodies.senders",
            str(port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if process.stdout is not None:
                _ = await process.stdout.readline()
            yield Senders(process, url, keys)
        finally:
            process.kill()
            _ = await process.wait()


async def _measure(dsn: str, shapes: list[str], sizes: list[float], rounds: int) -> float:
    worst = 0.0
    say("| body | MiB | loop stopped, ms | and others, ms | another user, ms | took, ms |")
    say("| --- | ---: | ---: | ---: | ---: | ---: |")
    async with _senders(dsn) as senders:
        _ = await senders.ask("one text", 0.1)
        for shape in shapes:
            for size in sizes:
                results = [await senders.ask(shape, size) for _ in range(rounds)]
                own, gap, other, took = (
                    statistics.median(getattr(result, name) for result in results)
                    for name in ("own_gap", "gap", "other_worst", "took")
                )
                worst = max(worst, own)
                failed = {result.status for result in results} - {200}
                note = f" ({', '.join(map(str, sorted(failed)))})" if failed else ""
                times = f"{own:.1f} | {gap:.1f} | {other:.0f} | {took:.0f}"
                say(f"| {shape}{note} | {size:g} | {times} |")
    return worst


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_bodies", description=__doc__)
    _ = parser.add_argument("--sizes", default="1,4.6,16,32,64", help="in MiB")
    _ = parser.add_argument(
        "--shapes", default="", help="beginnings of their names, separated by semicolons"
    )
    _ = parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    shapes = [
        name for name in SHAPES if any(name.startswith(part) for part in given.shapes.split(";"))
    ]
    sizes = [float(size) for size in given.sizes.split(",")]
    with (
        tempfile.TemporaryDirectory(prefix="large-bodies-") as folder,
        database(Path(folder), None) as dsn,
    ):
        worst = uvloop.run(_measure(dsn, shapes, sizes, given.rounds))
    say(f"the loop was stopped for {worst:.1f} ms at most")
    return 1 if worst > GAP_MAX_MS else 0


if __name__ == "__main__":
    sys.exit(main())
