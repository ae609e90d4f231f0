"""A run: every case, in rounds with the subjects in turns, and the proof of the books after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.speed.cases import Way
from benchmarks.speed.disk import NAME as DISK
from benchmarks.speed.disk import measure_disk
from benchmarks.speed.figures import Figures, medians
from benchmarks.speed.loads import LoadFailed
from benchmarks.speed.measuring import Wrong
from benchmarks.speed.product import NAME
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.starting import measure_help, measure_reading, measure_rest
from benchmarks.speed.subjects import Unavailable
from benchmarks.verdict import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.speed.cases import Case
    from benchmarks.speed.cast import Cast
    from benchmarks.speed.measuring import Meter
    from benchmarks.speed.subjects import Subject
    from benchmarks.speed.tools import UpstreamSeat

Results: TypeAlias = "dict[tuple[str, str], Figures]"
"""By name of case and of subject."""
_FAILED: Final = (Wrong, LoadFailed, NotStarted, Unavailable)


@dataclass(slots=True)
class Run:
    """What takes part, and what has been found so far."""

    seat: UpstreamSeat
    cast: Cast
    meter: Meter
    rounds: int
    results: Results = field(default_factory=dict[tuple[str, str], Figures])
    breaches: list[str] = field(default_factory=list[str])
    """What the product did wrong."""
    notes: list[str] = field(default_factory=list[str])
    """What others did."""

    async def go_through(self, cases: Sequence[Case]) -> None:
        """Measure every case."""
        for case in cases:
            say(case.name)
            if case.way is Way.IDLE:
                await self._measure_anew(case)
            elif case.way in {Way.REST, Way.COMMAND, Way.READ}:
                await self._measure_builds(case)
            else:
                await self._measure(case)

    async def _measure(self, case: Case) -> None:
        subjects = await self.cast.of(case.subjects)
        async with self.seat.responding(case.upstream):
            await self._measure_in_turns(case, subjects)
        for subject in subjects:
            await self._prove(case, subject)

    async def _measure_in_turns(self, case: Case, subjects: list[Subject]) -> None:
        subjects = [each for each in subjects if await self._is_warm(case, each)]
        rounds: dict[str, list[Figures]] = {subject.name: [] for subject in subjects}
        for number in range(self.rounds):
            # In turns, and not always in the same order: what one leaves behind is not always the
            # same one's to bear.
            for subject in subjects if number % 2 else reversed(subjects):
                try:
                    rounds[subject.name].append(await self.meter.round(case, subject))
                except _FAILED as error:
                    self._report(subject.name, str(error))
            if case.with_disk:
                blocks = rounds.setdefault(DISK, [])
                blocks.append(await asyncio.to_thread(measure_disk, self.seat.folder))
        self._note(case, rounds)

    async def _measure_builds(self, case: Case) -> None:
        """Measure builds that serve nobody."""
        rounds: dict[str, list[Figures]] = {name: [] for name in self.cast.among(case.subjects)}
        for _ in range(self.rounds):
            for name, figures in rounds.items():
                try:
                    figures.append(await self._without_load(case, name))
                except (NotStarted, TimeoutError) as error:
                    self._report(name, f"{case.name}: {error}")
        self._note(case, rounds)

    async def _without_load(self, case: Case, name: str) -> Figures:
        build = self.cast.build_of(name)
        match case.way:
            case Way.REST:
                return await measure_rest(build, self.cast.new_folder(name))
            case Way.READ:
                return await measure_reading(build, case.load.body)
            case _:
                return await measure_help(build)

    async def _measure_anew(self, case: Case) -> None:
        """Measure each on a copy that was just started: memory is not always given back."""
        rounds: dict[str, list[Figures]] = {name: [] for name in self.cast.among(case.subjects)}
        for _ in range(self.rounds):
            for name, figures in rounds.items():
                try:
                    async with self.cast.anew(name) as subject:
                        async with self.seat.responding(case.upstream):
                            await self.meter.warm_up(case, subject)
                            figures.append(await self.meter.round(case, subject))
                        # What was left idle has ended with the upstream.
                        await self._prove(case, subject)
                except _FAILED as error:
                    self._report(name, str(error))
        self._note(case, rounds)

    async def _is_warm(self, case: Case, subject: Subject) -> bool:
        try:
            await self.meter.warm_up(case, subject)
        except _FAILED as error:
            self._report(subject.name, str(error))
            return False
        return True

    async def _prove(self, case: Case, subject: Subject) -> None:
        if subject.proof is not None:
            for breach in await subject.proof.breaches():
                self._report(subject.name, f"books after {case.name}: {breach}")

    def _report(self, name: str, breach: str) -> None:
        is_ours = name.startswith(NAME)
        (self.breaches if is_ours else self.notes).append(f"{name}: {breach}")
        say(f"wrong: {name}: {breach}")

    def _note(self, case: Case, rounds: dict[str, list[Figures]]) -> None:
        for name, figures in rounds.items():
            if figures:
                middle = self.results[case.name, name] = medians(figures)
                if middle.wrong:
                    self._report(name, f"{case.name}: {middle.wrong} responses were wrong")
