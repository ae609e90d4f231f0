"""Turns of those who sign in: few at once in a process, the others in the order of their arrival.

Passwords are verified one at a time, so nobody is later for it. Forty at once would keep the event
loop busy with their statements, and every request that is relayed would wait.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from tokenbalance.people.passwords import WAITING_MAX, Busy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_AT_ONCE: Final = 2
"""One that is verified, and one whose statements run meanwhile."""


@dataclass(slots=True)
class _Turns:
    semaphore: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    waiting: int = 0


_TURNS: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]()


@asynccontextmanager
async def turn() -> AsyncGenerator[None]:
    """Wait for one's turn, and keep it.

    Raises:
        Busy: too many wait.

    """
    turns = _TURNS.setdefault(asyncio.get_running_loop(), _Turns())
    if turns.waiting >= WAITING_MAX:
        msg = "too many people are signing in: try again in a moment"
        raise Busy(msg)
    turns.waiting += 1
    try:
        await turns.semaphore.acquire()
    finally:
        turns.waiting -= 1
    try:
        yield
    finally:
        turns.semaphore.release()
