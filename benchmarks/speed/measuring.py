"""A round: a load is put on a subject, and what that took is read before and after."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from benchmarks.speed.cases import Unit, Way
from benchmarks.speed.figures import Figures
from benchmarks.speed.loads import LoadFailed

if TYPE_CHECKING:
    from benchmarks.speed.cases import Case
    from benchmarks.speed.loads import Load, Loader, Seen
    from benchmarks.speed.subjects import Subject

WARM_UP_S: Final = 1.0
_WARM_STREAMS: Final = 50
_WRONG: Final = 0.01
"""The share of wrong responses above which figures are discarded."""


class Wrong(Exception):
    """A subject gave wrong responses, so that its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Measures rounds of one length."""

    loader: Loader
    seconds: float
    idle_streams: int
    quiet_s: float = 0
    """How long work that follows the last response of a round still counts."""

    async def warm_up(self, case: Case, subject: Subject) -> None:
        """Have connections opened and code loaded that a round will need."""
        load = case.load
        if load.requests is not None or case.way is Way.IDLE:
            few = min(load.connections, _WARM_STREAMS)
            load = replace(load, connections=few, requests=few, per_s=None)
        if case.way is Way.IDLE:
            await self._hold(load, subject)
            return
        for each in (load, case.in_parallel):
            if each is not None:
                await self._load(case, each, subject, WARM_UP_S)

    async def round(self, case: Case, subject: Subject) -> Figures:
        """Measure once.

        Raises:
            Wrong: it gave wrong responses.
            LoadFailed: it did not respond at all.

        """
        match case.way:
            case Way.LOAD:
                return await self._loaded(case, subject)
            case Way.NEIGHBOUR:
                return await self._in_parallel(case, subject)
            case Way.IDLE:
                return await self._idle(case, subject)
            case Way.REST | Way.COMMAND | Way.READ:
                msg = f"{case.name} puts no load on anybody"
                raise Wrong(msg)

    async def _loaded(self, case: Case, subject: Subject) -> Figures:
        before = _Cost.of(subject)
        seen = await self._load(case, case.load, subject, self.seconds * case.lasting)
        await asyncio.sleep(self.quiet_s)
        return _figures(seen, _Cost.of(subject).since(before), _units(case, seen))

    async def _in_parallel(self, case: Case, subject: Subject) -> Figures:
        assert case.in_parallel
        seconds = self.seconds * case.lasting
        before = _Cost.of(subject)
        seen, other = await asyncio.gather(
            self._load(case, case.load, subject, seconds),
            self._load(case, case.in_parallel, subject, seconds),
        )
        return _figures(seen, _Cost.of(subject).since(before), seen.requests + other.requests)

    async def _idle(self, case: Case, subject: Subject) -> Figures:
        assert subject.tree
        before = subject.tree.pss_kib()
        streams = replace(case.load, connections=self.idle_streams)
        async with self.loader.held_open(streams, subject):
            grown = subject.tree.pss_kib() - before
        _leave_unseen(subject)
        return Figures(kib=grown / self.idle_streams)

    async def _hold(self, load: Load, subject: Subject) -> None:
        async with self.loader.held_open(load, subject):
            _leave_unseen(subject)

    async def _load(self, case: Case, load: Load, subject: Subject, seconds: float) -> Seen:
        try:
            seen = await self.loader.run(load, subject, seconds)
        except LoadFailed:
            _leave_unseen(subject)
            raise
        if subject.proof is not None:
            subject.proof.owed += seen.responded * case.credits
        if seen.errors > seen.requests * _WRONG or not seen.requests:
            msg = f"{case.name}: {seen.errors} of {seen.requests} went wrong, {seen.statuses}"
            raise Wrong(msg)
        return seen


@dataclass(frozen=True, slots=True)
class _Cost:
    cpu_us: float | None
    loop_us: float | None
    postgres_us: float | None

    @classmethod
    def of(cls, subject: Subject) -> _Cost:
        return cls(
            None if subject.tree is None else subject.tree.cpu_us(),
            None if subject.tree is None else subject.tree.loop_us(),
            None if subject.postgres is None else subject.postgres.cpu_us(),
        )

    def since(self, before: _Cost) -> _Cost:
        return _Cost(
            _difference(self.cpu_us, before.cpu_us),
            _difference(self.loop_us, before.loop_us),
            _difference(self.postgres_us, before.postgres_us),
        )


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _leave_unseen(subject: Subject) -> None:
    """Take note that clients hung up: what they left is charged by estimate."""
    if subject.proof is not None:
        subject.proof.is_known = False


def _units(case: Case, seen: Seen) -> int:
    return seen.chunks if case.unit is Unit.CHUNK else seen.requests


def _figures(seen: Seen, cost: _Cost, units: int) -> Figures:
    return Figures(
        cpu_us=None if cost.cpu_us is None else cost.cpu_us / units,
        loop_us=None if cost.loop_us is None else cost.loop_us / units,
        postgres_us=None if cost.postgres_us is None else cost.postgres_us / units,
        per_s=units / seen.seconds,
        p50_ms=seen.latency and seen.latency.p50,
        p99_ms=seen.latency and seen.latency.p99,
        first_byte_ms=seen.first_byte and seen.first_byte.p50,
        first_byte_p99_ms=seen.first_byte and seen.first_byte.p99,
        delay_p50_ms=seen.chunk_delay and seen.chunk_delay.p50,
        delay_p99_ms=seen.chunk_delay and seen.chunk_delay.p99,
        wrong=seen.errors,
    )
