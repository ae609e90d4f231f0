"""Every process of ours killed at a random moment under load, the Postgres too; again and again.

    .venv/bin/python -m benchmarks.crashes [--times 10] [--seed N] [--per-second 30]

After each time everything is started again, and once the last hold has ended the books have to be
right: audited, and compared with the upstream's responses and what the clients received; and each
object whose id was seen has to be its maker's. Exits with 1 if they are not.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.admissions import admitted_too_many
from benchmarks.processes import send
from benchmarks.reconciliation import Reconciliation, reconcile
from benchmarks.replicas import kill_all
from benchmarks.stage import Stage, open_stage
from benchmarks.verdict import conclude, say
from benchmarks.watch import Watch, until_no_hold_is_open
from tokenbalance.database.connections import open_pool

MAKERS_PER_S: Final = 15.0
LOAD_S: Final = (2.0, 6.0)
QUIET_S: Final = 30.0
"""After the restart; by then no hold may be open."""
OVERTIME_S: Final = 120.0
_OF_EACH_S: Final = 150.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    times: int
    seed: int
    per_s: float


async def run(plan: Plan, folder: Path) -> list[str]:
    """Do it all, in bounded time; returns what was broken."""
    chance = random.Random(f"{plan.seed} crashes")
    breaches: list[str] = []
    async with (
        asyncio.timeout(plan.times * _OF_EACH_S + OVERTIME_S),
        open_stage(folder, plan.seed) as stage,
    ):
        for number in range(1, plan.times + 1):
            await _crash(stage, plan.per_s, chance.uniform(*LOAD_S), chance)
            found = await _look(stage, number)
            breaches += [f"after crash {number}: {line}" for line in found if line not in breaches]
    return breaches


async def _crash(stage: Stage, per_s: float, after_s: float, chance: random.Random) -> None:
    """Kill everything under load, and start it again."""
    changing = asyncio.create_task(stage.changes.run())
    loading = asyncio.gather(
        stage.clients.load(per_s, after_s + 1), stage.makers.load(MAKERS_PER_S, after_s + 1)
    )
    await asyncio.sleep(after_s)
    scene = stage.scene
    doomed = [*scene.database.processes(), *(p for r in scene.replicas for p in r.processes())]
    # In any order: sometimes the database goes before those who use it, sometimes after.
    send(signal.SIGKILL, chance.sample(doomed, len(doomed)))
    await scene.database.kill()
    await kill_all(scene.replicas)
    _ = await loading
    _ = changing.cancel()
    with suppress(asyncio.CancelledError):
        await changing
    await scene.database.start()
    _ = await asyncio.gather(*(replica.start() for replica in scene.replicas))


async def _look(stage: Stage, number: int) -> list[str]:
    left, took_s = await until_no_hold_is_open(stage.dsn, QUIET_S)
    watch = Watch(stage.dsn)
    await watch.look(0)
    async with open_pool(stage.dsn, 1) as pool:
        found = await reconcile(pool, stage.upstream.served, stage.clients.received)
        found.breaches += await stage.makers.breaches(pool)
        found.breaches += await admitted_too_many(pool)
    found.breaches += stage.changes.breaches
    found.breaches += list(watch.violations)
    if left:
        found.breaches.append(f"{left} holds are open after {took_s:.0f} s")
    say(
        f"{_line(number, took_s, found)}, objects seen {len(stage.makers.seen)},"
        f" changes {stage.changes.made.total()}"
    )
    return found.breaches


def _line(number: int, took_s: float, found: Reconciliation) -> str:
    return (
        f"{number:3}  open holds gone after {took_s:4.1f} s; so far responses {found.responses:5},"
        f" exact {found.exact:5}, by estimate {found.estimated:4} ({found.estimated_off_by:+}),"
        f" for nothing {found.for_nothing:3} ({found.for_nothing_credits}),"
        f" breaches {len(found.breaches)}"
    )


def main() -> int:
    """Run the command; returns its exit code."""
    plan, folder = _arguments(), Path(tempfile.mkdtemp(prefix="crashes-"))
    say(f"seed {plan.seed}")
    breaches = asyncio.run(run(plan, folder))
    say(f"{plan.times} crashes, breaches: {len(breaches)}")
    return conclude(breaches, folder)


def _arguments() -> Plan:
    parser = argparse.ArgumentParser(description="Kill everything, and look at the books.")
    _ = parser.add_argument("--times", type=int, default=10)
    _ = parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    _ = parser.add_argument("--per-second", type=float, default=30.0)
    given = parser.parse_args()
    return Plan(given.times, given.seed, given.per_second)


if __name__ == "__main__":
    sys.exit(main())
