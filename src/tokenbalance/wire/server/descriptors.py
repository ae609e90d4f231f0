"""File descriptors of this process: how many there may be, and what happens when they run out.

    limit      raised to the hard limit at startup
    reserve    the last part of it, kept for connections to the upstream and the database, and files
    crowded    a descriptor of the reserve was assigned recently: for each new client connection
               two that wait for a request are closed, those first that have used up most of
               their time
    full       none of them waits for a request: new connections are closed at once

The system always assigns the lowest free number. So a new descriptor's number says how many are in
use at least, whoever opened them, and nothing has to be counted. It may fill a gap far below the
last one, so being crowded lasts for a second. It must never close a connection whose request is
running.
"""

from __future__ import annotations

import errno
import heapq
import logging
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

if sys.platform == "win32":
    resource = None
else:
    import resource

if TYPE_CHECKING:
    from collections.abc import Iterable

RESERVE_MAX: Final = 1024
LIMIT_WITHOUT_HARD_ONE: Final = 65_536
"""Where the hard limit is "unlimited", which not every system accepts as a limit."""
WARNING_EVERY_S: Final = 60.0
CROWDED_FOR_S: Final = 1.0
FULL_FOR_S: Final = 0.1
"""How long nothing is searched again after nothing could be closed."""
OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})

logger = logging.getLogger("uvicorn.error")


class Waiting(Protocol):
    """A client connection."""

    def share_waited(self) -> float:
        """How much of its time for a request is over, 1 being all; 0 if one is running."""
        ...

    def dismiss(self) -> None:
        """Close it."""
        ...


def raise_limit() -> None:
    """Raise the limit of this process, and of those that it starts, to the hard limit."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, LIMIT_WITHOUT_HARD_ONE) if hard == resource.RLIM_INFINITY else hard
    if soft not in {wanted, resource.RLIM_INFINITY}:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            logger.debug("The limit of file descriptors stays at %d: %s", soft, error)


def limit_of_process() -> int:
    """How many descriptors this process may have; `sys.maxsize` if there is no limit."""
    if resource is None:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Descriptors:
    """Decides whether a new connection gets in, and which ones make room for it."""

    def __init__(self, limit: int) -> None:
        reserve = min(limit // 8, RESERVE_MAX)
        self._limit: int = limit
        self._reserve_begins: int = limit - reserve
        self._at_once: int = max(reserve // 2, 1)
        """How many connections are closed at once, so that searching for them stays cheap."""
        self._places: int = 0
        """For new connections, while the process is crowded."""
        self._crowded_until_s: float = -math.inf
        self._full_until_s: float = -math.inf
        self._silent_until_s: float = -math.inf

    def admit(self, descriptor: int, connections: Iterable[Waiting]) -> bool:
        """Whether a new connection with this descriptor may stay; others may be closed for it."""
        now_s = time.monotonic()
        if descriptor >= self._reserve_begins:
            self._crowded_until_s = now_s + CROWDED_FOR_S
        elif now_s >= self._crowded_until_s:
            return True
        if self._places or self._make_room(connections):
            self._places -= 1
            return True
        if descriptor < self._reserve_begins:
            return True
        self._warn()
        return False

    def look(self, connections: Iterable[Waiting]) -> None:
        """Make room if the process is crowded by whatever; called once a second.

        Event loops do not always report that they cannot accept: uvloop drops connections silently.
        """
        self._places = 0
        if self._limit == sys.maxsize:
            return
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY)
        except OSError as error:
            if error.errno in OUT_OF_DESCRIPTORS:
                self.cannot_accept(connections)
            return
        os.close(descriptor)
        if descriptor >= self._reserve_begins:
            self._crowded_until_s = time.monotonic() + CROWDED_FOR_S
            _ = self._make_room(connections)

    def cannot_accept(self, connections: Iterable[Waiting]) -> None:
        """Warn that connections cannot be accepted, and make room for them."""
        self._warn()
        self._crowded_until_s = time.monotonic() + CROWDED_FOR_S
        if not self._places:
            _ = self._make_room(connections)

    def _make_room(self, connections: Iterable[Waiting]) -> bool:
        """Close the connections that have waited for too long; returns whether there were any."""
        now_s = time.monotonic()
        if now_s < self._full_until_s:
            return False
        waiting = ((one.share_waited(), one) for one in connections)
        longest = heapq.nlargest(
            self._at_once, (pair for pair in waiting if pair[0] > 0), key=lambda pair: pair[0]
        )
        for _, connection in longest:
            connection.dismiss()
        self._places = (len(longest) + 1) // 2
        if not longest:
            self._full_until_s = now_s + FULL_FOR_S
        return bool(longest)

    def _warn(self) -> None:
        now_s = time.monotonic()
        if now_s < self._silent_until_s:
            return
        self._silent_until_s = now_s + WARNING_EVERY_S
        logger.warning(
            "New connections cannot be accepted: the limit of %d file descriptors is reached."
            " Raise it (ulimit -n, LimitNOFILE=).",
            self._limit,
        )
