"""Jobs of many accounts in a fair order: one of an account at a time, small ones first.

Owns the order; it never knows what a job does. Of the waiting accounts, the one whose next job
would end first is served next, on a clock that moves on by the size of each job that starts. So a
small job overtakes large ones, an account that has just been served comes after the others, and the
work that can overtake a large job is limited by its size. Used on one event loop only.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(order=True, slots=True)
class _Job(Generic[T]):
    size: int
    number: int
    """Of jobs of one size the first is first."""
    start: Callable[[], asyncio.Future[T]] = field(compare=False)
    result: asyncio.Future[T] = field(compare=False)


@dataclass(slots=True)
class _Account(Generic[T]):
    since: int
    """When its next job began to wait, on the clock of the queue."""
    jobs: list[_Job[T]] = field(default_factory=list["_Job[T]"])
    """Those that wait, as a heap."""
    is_busy: bool = False

    def drop_cancelled(self) -> None:
        """Forget jobs that nobody waits for any more, so that the first of the heap is to start."""
        while self.jobs and self.jobs[0].result.cancelled():
            _ = heapq.heappop(self.jobs)

    def waits(self, size_max: float) -> bool:
        """Whether it has a job of at most this size to start."""
        self.drop_cancelled()
        return bool(self.jobs) and not self.is_busy and self.jobs[0].size <= size_max

    @property
    def would_end(self) -> int:
        """When its next job would end, on the clock of the queue."""
        return self.since + self.jobs[0].size


class FairQueue(Generic[T]):
    """Starts jobs in a fair order."""

    def __init__(self, places: int, small_max: int) -> None:
        """Start without any job.

        Args:
            places: the most jobs that run at once. The last of several is for small jobs only, so
                that they never have to wait until a large one ends.
            small_max: the size up to which a job is small.

        """
        self._places = places
        self._places_of_large = max(places - 1, 1)
        self._small_max = small_max
        self._running = 0
        self._running_large = 0
        self._accounts: dict[int, _Account[T]] = {}
        self._clock = 0
        self._number = 0

    async def run(self, account_id: int, size: int, start: Callable[[], asyncio.Future[T]]) -> T:
        """Run a job in its turn, and return or raise what it does.

        If this is cancelled, a job that waits is never started; one that runs keeps its place.

        Args:
            account_id: whose job it is.
            size: how much work it is, in any unit.
            start: starts it.

        """
        account = self._accounts.setdefault(account_id, _Account(self._clock))
        self._number += 1
        job = _Job(size, self._number, start, asyncio.get_running_loop().create_future())
        heapq.heappush(account.jobs, job)
        self._start_waiting()
        try:
            return await job.result
        finally:
            self._forget_idle(account_id)

    def _start_waiting(self) -> None:
        while self._running < self._places:
            is_full = self._running_large >= self._places_of_large
            size_max = self._small_max if is_full else float("inf")
            waiting = [each for each in self._accounts.items() if each[1].waits(size_max)]
            if not waiting:
                return
            self._start(*min(waiting, key=lambda each: each[1].would_end))

    def _start(self, account_id: int, account: _Account[T]) -> None:
        self._clock = max(self._clock, account.would_end)
        job = heapq.heappop(account.jobs)
        account.is_busy = True
        self._running += 1
        self._running_large += job.size > self._small_max
        job.start().add_done_callback(partial(self._end, account_id, job))

    def _end(self, account_id: int, job: _Job[T], done: asyncio.Future[T]) -> None:
        self._running -= 1
        self._running_large -= job.size > self._small_max
        # To the end, since the first of those that would end together is served first.
        account = self._accounts[account_id] = self._accounts.pop(account_id)
        account.is_busy = False
        account.since = self._clock
        self._forget_idle(account_id)
        _pass_on(done, job.result)
        self._start_waiting()

    def _forget_idle(self, account_id: int) -> None:
        account = self._accounts.get(account_id)
        if account is None or account.is_busy:
            return
        account.drop_cancelled()
        if not account.jobs:
            del self._accounts[account_id]


def _pass_on(done: asyncio.Future[T], result: asyncio.Future[T]) -> None:
    """Give a result, or an error, to the caller if it still waits."""
    error = None if done.cancelled() else done.exception()
    if result.done():
        return
    if done.cancelled():
        result.cancel()
    elif error is None:
        result.set_result(done.result())
    else:
        result.set_exception(error)
