"""Counting on the request path: plain numbers, added to the metrics once per turn of the loop.

A counter of Prometheus's client takes a lock and, where several workers count together, writes into
a file; a request has half a dozen of them. All requests that end in one turn share that here. Must
be used on the event loop's thread; without a loop everything is added at once.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol, cast

from prometheus_client import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Counter


class _Adds(Protocol):
    def inc(self, amount: float) -> None: ...


class Times(Histogram):
    """A histogram that takes many observations at once."""

    @property
    def bounds(self) -> Sequence[float]:
        """The upper bounds of its buckets; the last is infinite."""
        return self._upper_bounds

    def add(self, numbers: Sequence[int], total: float) -> None:
        """Add so many observations to each bucket, and what they are together."""
        cast("_Adds", self._sum).inc(total)
        for bucket, number in zip(cast("list[_Adds]", self._buckets), numbers, strict=True):
            if number:
                bucket.inc(number)


class Counts:
    """All counts of one application, and when they are added to their metrics."""

    def __init__(self) -> None:
        self._changed: list[Count | Durations] = []

    def of(self, counter: Counter) -> Count:
        """Count for a counter."""
        return Count(self, counter)

    def of_times(self, times: Times) -> Durations:
        """Count for a histogram."""
        return Durations(self, times)

    def note(self, changed: Count | Durations) -> None:
        """Publish a count that has changed, at the latest when the event loop gets to it."""
        self._changed.append(changed)
        if len(self._changed) > 1:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.publish()
        else:
            _ = loop.call_soon(self.publish)

    def publish(self) -> None:
        """Add everything counted so far to the metrics."""
        changed, self._changed = self._changed, []
        for one in changed:
            one.publish()


class Count:
    """What is still to be added to one counter."""

    __slots__ = ("_counter", "_counts", "_more")

    def __init__(self, counts: Counts, counter: Counter) -> None:
        self._counts: Counts = counts
        self._counter: Counter = counter
        self._more: int = 0

    def add(self, number: int) -> None:
        """Count so many more."""
        if self._more:
            self._more += number
        elif number:
            self._more = number
            self._counts.note(self)

    def publish(self) -> None:
        """Add them to the counter."""
        more, self._more = self._more, 0
        self._counter.inc(more)


class Durations:
    """What is still to be observed by one histogram."""

    __slots__ = ("_bounds", "_counts", "_numbers", "_times", "_total")

    def __init__(self, counts: Counts, times: Times) -> None:
        self._counts: Counts = counts
        self._times: Times = times
        self._bounds: Sequence[float] = times.bounds
        self._numbers: list[int] | None = None
        """By bucket; None: nothing."""
        self._total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        numbers = self._numbers
        bucket = bisect_left(self._bounds, seconds)
        if numbers is not None:
            numbers[bucket] += 1
            self._total += seconds
            return
        numbers = self._numbers = [0] * len(self._bounds)
        numbers[bucket] = 1
        self._total = seconds
        self._counts.note(self)

    def publish(self) -> None:
        """Add them to the histogram."""
        numbers, self._numbers = self._numbers, None
        if numbers is not None:
            self._times.add(numbers, self._total)
