"""The chaos run: two replicas under mixed load, one fault every ten seconds, and then the books.

    .venv/bin/python -m benchmarks.chaos [--minutes 3] [--seed N] [--per-second 30]

Exits with 1 if anything that is promised was broken: an invariant, at any second; a hold still open
half a minute after the load; a response of the upstream not charged once, or charged wrongly; a
client that was asked to retry although its response had been paid for; a limit that admitted too
much, or a removed member who was served. The same seed gives the same
faults and the same requests at the same times.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.admissions import admitted_too_many
from benchmarks.faults import Struck, fault_table, schedule, strike_all
from benchmarks.reconciliation import Reconciliation, reconcile
from benchmarks.stage import Stage, open_stage
from benchmarks.verdict import conclude, say
from benchmarks.watch import Watch, until_no_hold_is_open
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

QUIET_S: Final = 30.0
"""After the load; by then no hold may be open."""
OVERTIME_S: Final = 240.0
"""For starting, for the last clients and for ending; a run that takes longer has failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    minutes: float
    seed: int
    per_s: float

    @property
    def lasting_s(self) -> float:
        """How long the load lasts."""
        return self.minutes * 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has shown."""

    watch: Watch
    open_holds: int
    quiet_after_s: float
    reconciliation: Reconciliation
    exit_codes: list[int]

    @property
    def breaches(self) -> list[str]:
        """Everything that was promised and broken, one line each."""
        found = [f"at {at_s:.0f} s: {line}" for line, at_s in self.watch.violations.items()]
        found += self.reconciliation.breaches
        if self.open_holds:
            found.append(f"{self.open_holds} holds are open {QUIET_S:.0f} s after the load")
        found += [f"a replica ended with code {code}" for code in self.exit_codes if code != 0]
        return found


async def run(plan: Plan, folder: Path) -> Outcome:
    """Do it all, in bounded time."""
    async with asyncio.timeout(plan.lasting_s + OVERTIME_S), open_stage(folder, plan.seed) as stage:
        struck = schedule(plan.seed, plan.lasting_s)
        watch = Watch(stage.dsn)
        began = asyncio.get_running_loop().time()
        async with _in_parallel(watch.run()):
            await _load(plan, stage, struck)
            open_holds, quiet_after_s = await until_no_hold_is_open(stage.dsn, QUIET_S)
        await watch.look(asyncio.get_running_loop().time() - began)
        async with open_pool(stage.dsn, 1) as pool:
            reconciliation = await reconcile(pool, stage.upstream.served, stage.clients.received)
            reconciliation.breaches += await stage.makers.breaches(pool)
            reconciliation.breaches += await admitted_too_many(pool)
        reconciliation.breaches += stage.changes.breaches
        stage.scene.exit_codes += [await replica.stop() for replica in stage.scene.replicas]
        say("\n".join(["", *fault_table(struck, stage.clients.received, began)]))
        say(f"changes: {dict(stage.changes.made)}")
        return Outcome(watch, open_holds, quiet_after_s, reconciliation, stage.scene.exit_codes)


async def _load(plan: Plan, stage: Stage, struck: list[Struck]) -> None:
    async with (
        _in_parallel(stage.changes.run()),
        asyncio.TaskGroup() as tasks,
    ):
        _ = tasks.create_task(strike_all(stage.scene, struck))
        _ = tasks.create_task(_tell(struck))
        _ = tasks.create_task(stage.makers.load(plan.per_s / 2, plan.lasting_s))
        await stage.clients.load(plan.per_s, plan.lasting_s)


async def _tell(struck: list[Struck]) -> None:
    """Say what goes on while it does."""
    at_s = 0.0
    for each in struck:
        await asyncio.sleep(each.at_s - at_s)
        at_s = each.at_s
        say(f"{at_s:5.0f} s  {each.name}, {each.lasting_s:.1f} s")


@asynccontextmanager
async def _in_parallel(work: Coroutine[object, object, None]) -> AsyncGenerator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        _ = task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _summary(plan: Plan, outcome: Outcome) -> list[str]:
    watch = outcome.watch
    return [
        f"seed {plan.seed}, {plan.minutes:g} minutes, {plan.per_s:g} requests a second",
        *outcome.reconciliation.lines(),
        f"audits: {watch.audits}, failed because the database did not respond: {watch.unanswered}",
        f"violations: {len(watch.violations)}, lowest balance: {watch.lowest}",
        f"open holds: {outcome.open_holds}, {outcome.quiet_after_s:.1f} s after the last client",
        f"breaches: {len(outcome.breaches)}",
    ]


def main() -> int:
    """Run the command; returns its exit code."""
    plan, folder = _arguments(), Path(tempfile.mkdtemp(prefix="chaos-"))
    say(f"seed {plan.seed}")
    outcome = asyncio.run(run(plan, folder))
    say("\n".join(["", *_summary(plan, outcome)]))
    return conclude(outcome.breaches, folder)


def _arguments() -> Plan:
    parser = argparse.ArgumentParser(description="Load, faults, and then the books.")
    _ = parser.add_argument("--minutes", type=float, default=3.0)
    _ = parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    _ = parser.add_argument("--per-second", type=float, default=30.0)
    given = parser.parse_args()
    return Plan(given.minutes, given.seed, given.per_second)


if __name__ == "__main__":
    sys.exit(main())
