"""The ends of a hold: settle and void, tried until the database has taken them.

An end is never lost to a cancelled request: it runs in a task of its own, which the request waits
for but cannot cancel. Nor to the database: what cannot be committed at once is brought to the disk
first, and then the request need not wait any longer. Nor to the end of the process: what is in the
journal by then, another process commits.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.database.journal import JournalUnavailable
from tokenbalance.ledger.book import UnknownHold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tokenbalance.ledger.book import Book
    from tokenbalance.ledger.leases import Lease, Leases
    from tokenbalance.model import Charge, Hold, Usage

logger = logging.getLogger(__name__)

_RETRY_FIRST_S: Final = 0.05
_RETRY_MOST_S: Final = 1.0
_RETRY_UNEXPECTED_S: Final = 10.0
"""After an error that does not look as if it would pass."""

Outcome: TypeAlias = "asyncio.Future[Charge | None]"


class Settler:
    """Ends holds, exactly once each, whatever becomes of the request."""

    def __init__(self, book: Book, leases: Leases) -> None:
        self._book = book
        self._leases = leases
        self._pending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._pending)

    async def settle(
        self,
        lease: Lease,
        hold: Hold,
        usage: Usage | None,
        count: Callable[[], Usage],
        ceiling: Usage,
    ) -> Charge | None:
        """Charge what was used.

        Args:
            lease: the request's.
            hold: its hold, to be ended.
            usage: what the upstream reported, None when it reported nothing usable.
            count: counts what was used then; called in a thread.
            ceiling: what was used at most, for when it cannot be counted.

        Returns:
            The charge, when it is committed; None when it is safe on the disk instead, or when
            the hold had already been voided.

        """

        async def end() -> None:
            used = usage or await _counted(hold, count, ceiling)
            if lease.slot.usage != used:
                _write_down(lease, lambda: lease.slot.use(used))
            await self._commit(lease, lambda: self._book.settle(hold, used), outcome)

        outcome = _new_outcome()
        self._start(end())
        return await asyncio.shield(outcome)

    async def void(self, lease: Lease, hold: Hold) -> None:
        """Give everything back; returns when it is committed, or safe on the disk."""
        _ = await asyncio.shield(self._give_back(lease, lambda: self._book.void(hold)))

    def forestall_later(self, lease: Lease) -> None:
        """Give everything back, if it was ever placed, without waiting for it."""
        _ = self._give_back(lease, lambda: self._book.forestall(lease.caller, lease.purpose))

    async def drain(self, timeout_s: float) -> int:
        """Wait for the ends under way, and give up what cannot be committed in time.

        Returns:
            How many were given up: they are in the journal.

        """
        if not self._pending:
            return 0
        _, late = await asyncio.wait(self._pending, timeout=timeout_s)
        for task in late:
            _ = task.cancel()
        _ = await asyncio.gather(*late, return_exceptions=True)
        return len(late)

    def _give_back(self, lease: Lease, release: Callable[[], Awaitable[None]]) -> Outcome:
        async def end() -> None:
            _write_down(lease, lease.slot.void)
            await self._commit(lease, release, outcome)

        outcome = _new_outcome()
        self._start(end())
        return outcome

    def _start(self, end: Coroutine[object, None, None]) -> None:
        task = asyncio.create_task(end)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _commit(
        self, lease: Lease, end: Callable[[], Awaitable[Charge | None]], outcome: Outcome
    ) -> None:
        """Repeat an end until it is committed. Safe to repeat: each is a compare-and-set."""
        delay_s = _RETRY_FIRST_S
        while True:
            try:
                charge = await end()
                break
            except UnknownHold:
                logger.critical("these books know nothing of %s", lease.purpose.request_id)
                charge = None
                break
            except UNAVAILABLE as error:
                if delay_s == _RETRY_FIRST_S:
                    # Once: a thousand may have to wait for the database, for hours.
                    logger.warning(
                        "hold %s cannot be ended now, trying until it can: %s",
                        lease.purpose.request_id,
                        type(error).__name__,
                    )
                delay_s = min(delay_s * 2, _RETRY_MOST_S)
            except Exception:
                delay_s = _RETRY_UNEXPECTED_S
                logger.exception("hold %s cannot be ended", lease.purpose.request_id)
            await self._secure(lease, outcome)
            await asyncio.sleep(delay_s)
        self._leases.end(lease)
        if not outcome.done():
            outcome.set_result(charge)

    async def _secure(self, lease: Lease, outcome: Outcome) -> None:
        """Bring what is to be done to the disk, and let the request go on."""
        if outcome.done():
            return
        try:
            await self._leases.journal.sync()
        except JournalUnavailable:
            logger.exception("the end of %s is in memory only", lease.purpose.request_id)
            return
        if not outcome.done():
            outcome.set_result(None)


def _new_outcome() -> Outcome:
    return asyncio.get_running_loop().create_future()


def _write_down(lease: Lease, write: Callable[[], None]) -> None:
    try:
        write()
    except JournalUnavailable:
        # The books are the next to be told; only if they cannot be, something may be lost.
        logger.exception("%s cannot be written into the journal", lease.purpose.request_id)


async def _counted(hold: Hold, count: Callable[[], Usage], ceiling: Usage) -> Usage:
    try:
        return await asyncio.to_thread(count)
    except Exception:
        # Never a credit lost: what cannot be counted cost what was held for it.
        logger.exception("usage of %s cannot be counted; its hold is charged", hold.request_id)
        return ceiling
