"""The ends of a hold: settle and void, tried until the database has taken them.

An end is never lost to a cancelled request: it runs in a task of its own, which the request waits
for but cannot cancel.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tokenbalance.ledger.book import Book
    from tokenbalance.model import Charge, Hold

logger = logging.getLogger(__name__)

_RETRY_FIRST_S: Final = 0.05
_RETRY_MOST_S: Final = 2.0

T = TypeVar("T", "Charge | None", None)


class Settler:
    """Ends holds, exactly once each, whatever becomes of the request."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._pending: set[asyncio.Task[Charge | None] | asyncio.Task[None]] = set()

    async def settle(
        self, hold: Hold, usage: Usage | None, count: Callable[[], Usage]
    ) -> Charge | None:
        """Charge what was used.

        Args:
            hold: the hold to end.
            usage: what the upstream reported, None when it reported nothing usable.
            count: counts what was used then; called in a thread.

        Returns:
            The charge, or None when the hold had already ended.

        """

        async def end() -> Charge | None:
            used = usage or await _counted(hold, count)
            return await _until_committed(hold, lambda: self._book.settle(hold, used))

        return await asyncio.shield(self._start(end()))

    async def void(self, hold: Hold) -> None:
        """Give everything back."""
        await asyncio.shield(self.void_later(hold))

    def void_later(self, hold: Hold) -> asyncio.Task[None]:
        """Give everything back without waiting for it."""
        return self._start(_until_committed(hold, lambda: self._book.void(hold)))

    async def drain(self, timeout_s: float) -> int:
        """Wait for the ends under way; returns how many could not be committed in time."""
        if not self._pending:
            return 0
        _, late = await asyncio.wait(self._pending, timeout=timeout_s)
        return len(late)

    def _start(self, end: Coroutine[object, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(end)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task


async def _counted(hold: Hold, count: Callable[[], Usage]) -> Usage:
    try:
        return await asyncio.to_thread(count)
    except Exception:
        # Never a credit lost: what cannot be counted cost what was held for it.
        logger.exception("usage of %s cannot be counted; its hold is charged", hold.request_id)
        return Usage(total=hold.amount, estimated=True)


async def _until_committed(hold: Hold, end: Callable[[], Awaitable[T]]) -> T:
    """Repeat an end until it is committed. Safe to repeat: each is a compare-and-set."""
    delay_s = _RETRY_FIRST_S
    while True:
        try:
            return await end()
        except UNAVAILABLE as error:
            logger.warning(
                "hold %s cannot be ended now, trying again: %s",
                hold.request_id,
                type(error).__name__,
            )
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, _RETRY_MOST_S)
