"""One request at a time adds to a conversation, from before its input is counted to its end.

What a conversation stores is read by every request on it, and each adds to it. Two at once would
read more than was counted for them, so that their holds would not cover them.

    in this process    they take turns, first come first served
    elsewhere          the row of the conversation is busy until a moment that its holder puts off

A request waits as long as one may wait for a hold, and is refused then. A process that dies leaves
the row busy for BUSY_S at most. It must never be taken for more than one conversation of a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import TooManyRequests

if TYPE_CHECKING:
    from tokenbalance.owners.registry import Owners
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.room import Place

    _Key: TypeAlias = tuple[int, str]

logger = logging.getLogger(__name__)

BUSY_S: Final = 30.0
"""How long the row of a conversation is busy, unless that is put off."""
POLL_S: Final = 0.25
"""How often a request looks whether another process is done; at first more often."""
GRACE_S: Final = 1.0
"""How long it waits at least: a turn ends a moment after its client has the response."""
_FIRST_POLL_S: Final = 0.01
_RETRY_AFTER_S: Final = 5
_KIND: Final = "conversation"


@dataclass(slots=True, eq=False)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    """Requests that have the turn or wait for it."""


class Turns:
    """The conversations that requests of this process add to."""

    def __init__(self, owners: Owners, wait_s: float) -> None:
        """Begin with none.

        Args:
            owners: who has the rows of conversations.
            wait_s: how long a request may wait for its turn.

        """
        self._owners: Owners = owners
        self._wait_s: float = wait_s
        self._queues: dict[_Key, _Queue] = {}
        self._endings: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many conversations have a request."""
        return len(self._queues)

    async def take(self, asked: Asked, name: str, place: Place) -> None:
        """Wait until nobody else adds to a conversation; the turn ends when the place is left.

        Args:
            asked: the request, of which the conversation is the caller's.
            name: of the conversation.
            place: what the request occupies.

        Raises:
            TooManyRequests: others add to it for as long as one may wait.

        """
        key = asked.caller.account_id, name
        loop = asyncio.get_running_loop()
        until = loop.time() + max(self._wait_s, GRACE_S)
        queue = self._queues.setdefault(key, _Queue())
        queue.users += 1
        try:
            async with asyncio.timeout_at(until):
                _ = await queue.lock.acquire()
        except BaseException as error:
            self._leave(key, queue)
            if isinstance(error, TimeoutError):
                raise _refused(name) from None
            raise
        turn = _Turn(self, key, queue)
        place.at_exit = turn.end
        pause = _FIRST_POLL_S
        while not await self._owners.occupy(*key, turn.token, BUSY_S, kind=_KIND):
            if loop.time() + pause > until:
                raise _refused(name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLL_S)
        turn.keep(self._owners)

    async def close(self) -> None:
        """Wait until the rows of turns that have ended are free."""
        while self._endings:
            _ = await asyncio.wait(self._endings)

    def end(self, turn: _Turn) -> None:
        """End a turn: free the row, then let the next request of this process have it."""
        task = asyncio.create_task(self._end(turn))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, turn: _Turn) -> None:
        try:
            # It is free a little later anyway.
            with suppress(*UNAVAILABLE):
                await self._owners.vacate(*turn.key, turn.token, kind=_KIND)
        finally:
            turn.queue.lock.release()
            self._leave(turn.key, turn.queue)

    def _leave(self, key: _Key, queue: _Queue) -> None:
        queue.users -= 1
        if not queue.users:
            del self._queues[key]


class _Turn:
    """The turn of one request; its row stays busy until it ends."""

    def __init__(self, turns: Turns, key: _Key, queue: _Queue) -> None:
        self.key: _Key = key
        self.queue: _Queue = queue
        self.token: str = os.urandom(12).hex()
        self._turns: Turns = turns
        self._keeping: asyncio.Task[None] | None = None

    def keep(self, owners: Owners) -> None:
        """Put off the moment until which the row is busy, again and again."""
        self._keeping = asyncio.create_task(self._keep(owners))

    def end(self) -> None:
        """Let others have it."""
        if self._keeping is not None:
            _ = self._keeping.cancel()
        self._turns.end(self)

    async def _keep(self, owners: Owners) -> None:
        while True:
            await asyncio.sleep(BUSY_S / 3)
            try:
                is_ours = await owners.occupy(*self.key, self.token, BUSY_S, kind=_KIND)
            except UNAVAILABLE:
                continue
            if not is_ours:
                logger.info("another process has a conversation before its request has ended")


def conversation_of(asked: Asked) -> str | None:
    """Return the conversation that a request adds to; None if it adds to none.

    What takes items away, or changes nothing that a model reads, takes no turn: the holds of others
    cover it. An endpoint that is not known may add to any conversation that it names.
    """
    operation = asked.operation
    if operation.has_fixed_ceiling:
        return next((one.id for one in asked.known if one.kind == _KIND), None)
    if not operation.charged:
        is_write = operation.method == "POST" and operation.uses == (_KIND,)
        adds = operation.path.endswith("/items") or "items" in asked.document
        return asked.path_ids[0] if is_write and adds else None
    named = (str(each.value) for each in asked.references if each.kind == _KIND)
    return next(named, None)


def _refused(name: str) -> TooManyRequests:
    msg = f"Another request in progress adds to the conversation '{name}'"
    return TooManyRequests(msg, _RETRY_AFTER_S)
