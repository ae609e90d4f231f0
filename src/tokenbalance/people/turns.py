"""Turns of those who sign in or up: few at once in a process, the others in a fair order.

Passwords are verified one at a time, so nobody is later for it. Forty at once would keep the event
loop busy with their statements, and every request that is relayed would wait.

    two lines       attempts that show a browser's secret have places of their own, and both lines
                    are served alternately
    in each line    the next turn goes to the network with the fewest turns under way; of several,
                    to the one that was served longest ago
    few places      of each network; when the line is full, an arrival takes the latest place of the
                    network that has the most, if that has more than its own would

So a flood from one network delays others by no more than the turns under way, and a flood of
strangers takes no place from browsers. Whether a browser is known is not known here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from tokenbalance.people.attempts import network_of
from tokenbalance.people.passwords import WAITING_MAX, Busy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

_AT_ONCE: Final = 2
"""One that is verified, and one whose statements run meanwhile."""
_OF_BROWSERS: Final = 16
"""Places for attempts that show a browser's secret."""
_OF_A_NETWORK: Final = 8
"""Places of one network in one line: people may share it. More attempts are refused at once."""


class Line(Enum):
    """The two lines; the value is the number of places."""

    BROWSERS = _OF_BROWSERS
    STRANGERS = WAITING_MAX - _OF_BROWSERS


@dataclass(slots=True)
class _Waiting:
    """Those who wait in one line."""

    places: int
    by_network: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)
    """None is empty; the network that was served longest ago comes first."""

    def join(self, network: str) -> asyncio.Future[None]:
        """Take a place; its result is the turn.

        Raises:
            Busy: there is none.

        """
        own = len(self.by_network.get(network, ()))
        if own >= _OF_A_NETWORK or (self._is_full and not self._make_room(own)):
            raise _busy()
        place = asyncio.get_running_loop().create_future()
        self.by_network.setdefault(network, deque()).append(place)
        return place

    def leave(self, network: str, place: asyncio.Future[None]) -> None:
        """Give a place up; ignored if it was taken away meanwhile."""
        waiting = self.by_network.get(network)
        if waiting is None or place not in waiting:
            return
        waiting.remove(place)
        if not waiting:
            del self.by_network[network]

    def next(self, under_way: Mapping[str, int]) -> str | None:
        """Give the next one their turn, and return their network; None if nobody waits."""
        while self.by_network:
            network = min(self.by_network, key=lambda each: under_way.get(each, 0))
            waiting = self.by_network.pop(network)
            place = waiting.popleft()
            if waiting:
                # To the end: it has been served.
                self.by_network[network] = waiting
            if not place.done():
                place.set_result(None)
                return network
        return None

    @property
    def _is_full(self) -> bool:
        return sum(map(len, self.by_network.values())) >= self.places

    def _make_room(self, own: int) -> bool:
        """Take a place from the network with the most, for one that would still have fewer."""
        network, waiting = max(self.by_network.items(), key=lambda each: len(each[1]))
        if len(waiting) <= own + 1:
            return False
        place = waiting[-1]
        self.leave(network, place)
        if not place.done():
            place.set_exception(_busy())
        return True


def _busy() -> Busy:
    return Busy("too many people are signing in at the moment; try again")


@dataclass(slots=True)
class _Turns:
    under_way: Counter[str] = field(default_factory=Counter)
    """How many turns each network has; none is 0."""
    lines: dict[Line, _Waiting] = field(
        default_factory=lambda: {line: _Waiting(line.value) for line in Line}
    )
    """The one that was served longest ago comes first."""

    async def begin(self, network: str, line: Line) -> None:
        """Wait for a turn; raises `Busy`."""
        place = self.lines[line].join(network)
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled() or place.exception() is not None:
                self.lines[line].leave(network, place)
            else:
                # The turn came at the same time.
                self.end(network)
            raise

    def end(self, network: str) -> None:
        """End a turn, so that the next one begins."""
        self.under_way[network] -= 1
        self.under_way += Counter()  # drops what is 0
        self._serve()

    def _serve(self) -> None:
        while self.under_way.total() < _AT_ONCE and self._serve_one():
            pass

    def _serve_one(self) -> bool:
        for line, waiting in self.lines.items():
            network = waiting.next(self.under_way)
            if network is not None:
                self.under_way[network] += 1
                self.lines[line] = self.lines.pop(line)
                return True
        return False


_TURNS: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]()


@asynccontextmanager
async def turn(address: str, line: Line = Line.STRANGERS) -> AsyncGenerator[None]:
    """Wait for one's turn, and keep it.

    Args:
        address: the client's IP address; anything else counts as one address.
        line: where to wait.

    Raises:
        Busy: too many wait, here or from this network; the place may be lost while waiting.

    """
    turns = _TURNS.setdefault(asyncio.get_running_loop(), _Turns())
    network = network_of(address)
    await turns.begin(network, line)
    try:
        yield
    finally:
        turns.end(network)
