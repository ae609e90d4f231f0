"""Which connections are closed when file descriptors run out, without sockets or a real clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.support.clock import Clock
from tokenbalance.wire.server import descriptors
from tokenbalance.wire.server.descriptors import RESERVE_MAX, Descriptors

LIMIT = 80
RESERVE_BEGINS = 70
"""An eighth is kept; half of that is closed at once."""
FREE = 10
"""A descriptor far below the reserve."""


@dataclass
class Connection:
    """It has used up a share of its time for a request."""

    waited: float
    closed: list[float] = field(default_factory=list[float])

    def share_waited(self) -> float:
        return self.waited

    def dismiss(self) -> None:
        self.closed.append(self.waited)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(descriptors, "time", clock)
    return clock


def closed_of(connections: list[Connection]) -> list[float]:
    return sorted(one.waited for one in connections if one.closed)


@pytest.mark.usefixtures("clock")
def test_the_reserve_is_an_eighth_and_never_more_than_its_maximum() -> None:
    for limit, begins in ((LIMIT, 70), (1_000_000, 1_000_000 - RESERVE_MAX)):
        for descriptor, is_crowded in ((begins - 1, False), (begins, True)):
            connections = [Connection(0.5)]
            assert Descriptors(limit).admit(descriptor, connections)
            assert bool(closed_of(connections)) is is_crowded


@pytest.mark.usefixtures("clock")
def test_those_that_have_waited_longest_are_closed_first_and_requests_never() -> None:
    connections = [Connection(waited) for waited in (0.1, 0, 0.9, 0.3, 0, 0.8, 0.7, 0.2, 0.5)]
    assert Descriptors(LIMIT).admit(RESERVE_BEGINS, connections)
    assert closed_of(connections) == [0.3, 0.5, 0.7, 0.8, 0.9]


@pytest.mark.usefixtures("clock")
def test_two_are_closed_for_each_that_comes() -> None:
    room = Descriptors(LIMIT)
    connections = [Connection(0.5) for _ in range(20)]
    later = [Connection(0.5) for _ in range(20)]
    for _ in range(3):
        assert room.admit(RESERVE_BEGINS, connections)
    assert room.admit(RESERVE_BEGINS, later)
    assert [len(closed_of(each)) for each in (connections, later)] == [5, 5]


def test_where_nobody_waits_a_descriptor_of_the_reserve_is_refused_and_others_are_not(
    clock: Clock,
) -> None:
    room = Descriptors(LIMIT)
    busy = [Connection(0)]
    assert not room.admit(RESERVE_BEGINS, busy)
    assert room.admit(FREE, busy)
    waiting = [Connection(0.5)]
    # Nothing is searched again at once.
    assert not room.admit(RESERVE_BEGINS, waiting)
    clock.now_s += descriptors.FULL_FOR_S
    assert room.admit(RESERVE_BEGINS, waiting)
    assert not closed_of(busy)


def test_being_crowded_lasts_for_a_second(clock: Clock) -> None:
    room = Descriptors(LIMIT)
    assert room.admit(RESERVE_BEGINS, [Connection(0.5)])
    clock.now_s += descriptors.CROWDED_FOR_S - 0.01
    filling = [Connection(0.5)]
    assert room.admit(FREE, filling)
    assert closed_of(filling)
    clock.now_s += 0.02
    later = [Connection(0.5)]
    assert room.admit(FREE, later)
    assert not closed_of(later)


def test_there_is_one_warning_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    room = Descriptors(LIMIT)
    for _ in range(3):
        assert not room.admit(RESERVE_BEGINS, [])
        room.cannot_accept([])
    assert len(caplog.records) == 1
    assert "limit of 80 file descriptors" in caplog.records[0].message
    clock.now_s += descriptors.WARNING_EVERY_S - 0.1
    room.cannot_accept([])
    assert len(caplog.records) == 1
    clock.now_s += 0.2
    room.cannot_accept([])
    assert len(caplog.records) == 2
