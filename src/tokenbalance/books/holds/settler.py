"""The ends of a hold: settle and void, tried until the database has taken them.

An end is first tried by its request. It is never lost to a cancelled one: a task takes it over,
which nobody cancels. Nor to the database: what cannot be committed at once is brought to the disk
first, and then the request need not wait any longer. Nor to the end of the process: what is in the
journal by then, another process commits.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.books.holds.journal import JournalUnavailable
from tokenbalance.books.ledger.book import UnknownHold
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.offload import offload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tokenbalance.books.holds.leases import Lease, Leases
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.model import Charge, Hold, Usage

logger = logging.getLogger(__name__)

_RETRY_FIRST_S: Final = 0.05
_RETRY_MOST_S: Final = 1.0
_RETRY_UNEXPECTED_S: Final = 10.0
"""After an error that does not look as if it would pass."""

Outcome: TypeAlias = "asyncio.Future[Charge | None]"
End: TypeAlias = "Callable[[], Awaitable[Charge | None]]"
"""Commits the end of a hold. Safe to repeat: each is a compare-and-set."""


class Settler:
    """Ends holds, exactly once each, whatever becomes of the request."""

    def __init__(self, book: Book, leases: Leases) -> None:
        self._book = book
        self._leases = leases
        self._pending: set[Lease] = set()
        self._none_pending = asyncio.Event()
        self._none_pending.set()
        self._tasks: set[asyncio.Task[None]] = set()

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
        self._begin(lease)
        if usage is not None:
            return await self._end(lease, self._settling(lease, hold, usage))
        outcome = _new_outcome()
        self._start(self._count_and_settle(lease, hold, (count, ceiling), outcome))
        return await outcome

    async def void(self, lease: Lease, hold: Hold) -> None:
        """Give everything back; returns when it is committed, or safe on the disk."""
        self._begin(lease)
        _write_down(lease, lease.slot.void)
        _ = await self._end(lease, partial(self._book.void, hold))

    def leave_tombstone_later(self, lease: Lease) -> None:
        """Give everything back, if it was ever placed, without waiting for it."""
        self._begin(lease)
        _write_down(lease, lease.slot.void)
        leave_tombstone = partial(self._book.leave_tombstone, lease.caller, lease.purpose)
        self._start(self._repeat(lease, leave_tombstone, _new_outcome()))

    async def drain(self, timeout_s: float) -> int:
        """Wait for the ends under way, and give up what cannot be committed in time.

        Returns:
            How many were given up: they are in the journal.

        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                _ = await self._none_pending.wait()
        late = list(self._tasks)
        for task in late:
            _ = task.cancel()
        _ = await asyncio.gather(*late, return_exceptions=True)
        return len(self._pending)

    def _begin(self, lease: Lease) -> None:
        self._pending.add(lease)
        self._none_pending.clear()

    def _ended(self, lease: Lease) -> None:
        self._leases.end(lease)
        self._pending.discard(lease)
        if not self._pending:
            self._none_pending.set()

    def _settling(self, lease: Lease, hold: Hold, usage: Usage) -> End:
        if lease.slot.usage != usage:
            _write_down(lease, lambda: lease.slot.use(usage))
        return partial(self._book.settle, hold, usage)

    async def _count_and_settle(
        self,
        lease: Lease,
        hold: Hold,
        counting: tuple[Callable[[], Usage], Usage],
        outcome: Outcome,
    ) -> None:
        usage = await _counted(hold, *counting)
        await self._repeat(lease, self._settling(lease, hold, usage), outcome)

    async def _end(self, lease: Lease, end: End) -> Charge | None:
        """End a hold as part of its request; when that is not to be, beside it."""
        try:
            charge = await _attempt(lease, end)
        except asyncio.CancelledError:
            self._start(self._repeat(lease, end, _new_outcome()))
            raise
        except Exception as error:  # noqa: BLE001 - it is told where it is tried again
            outcome = _new_outcome()
            self._start(self._repeat(lease, end, outcome, error))
            return await outcome
        self._ended(lease)
        return charge

    def _start(self, work: Coroutine[object, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repeat(
        self, lease: Lease, end: End, outcome: Outcome, error: Exception | None = None
    ) -> None:
        """Repeat an end until it is committed.

        Args:
            lease: the request's.
            end: what commits its end.
            outcome: set when it is committed or safe on the disk.
            error: what it failed with before.

        """
        pause_s = _RETRY_FIRST_S
        is_safe = False
        while True:
            if error is not None:
                pause_s = _pause_after(error, lease, pause_s)
                is_safe = is_safe or await self._secure(lease, outcome)
                await asyncio.sleep(pause_s)
            try:
                charge = await _attempt(lease, end)
                break
            except Exception as again:  # noqa: BLE001 - told when it is tried again
                error = again
        self._ended(lease)
        if not outcome.done():
            outcome.set_result(charge)

    async def _secure(self, lease: Lease, outcome: Outcome) -> bool:
        """Bring what is to be done to the disk, and let the request go on."""
        try:
            await self._leases.journal.sync()
        except JournalUnavailable:
            logger.exception("the end of %s is in memory only", lease.purpose.request_id)
            return False
        if not outcome.done():
            outcome.set_result(None)
        return True


async def _attempt(lease: Lease, end: End) -> Charge | None:
    try:
        return await end()
    except UnknownHold:
        logger.critical("these books know nothing of %s", lease.purpose.request_id)
        return None


def _pause_after(error: Exception, lease: Lease, before_s: float) -> float:
    """Say what is in the way, and how long to wait for it to pass, in seconds."""
    if not isinstance(error, UNAVAILABLE):
        logger.error("hold %s cannot be ended", lease.purpose.request_id, exc_info=error)
        return _RETRY_UNEXPECTED_S
    if before_s == _RETRY_FIRST_S:
        # Once: a thousand may have to wait for the database, for hours.
        logger.warning(
            "hold %s cannot be ended now, trying until it can: %s",
            lease.purpose.request_id,
            type(error).__name__,
        )
    return min(before_s * 2, _RETRY_MOST_S)


def _new_outcome() -> Outcome:
    """Make what a request waits for; should it be cancelled, nobody else is."""
    return asyncio.get_running_loop().create_future()


def _write_down(lease: Lease, write: Callable[[], None]) -> None:
    try:
        write()
    except JournalUnavailable:
        # The books are the next to be told; only if they cannot be, something may be lost.
        logger.exception("%s cannot be written into the journal", lease.purpose.request_id)


async def _counted(hold: Hold, count: Callable[[], Usage], ceiling: Usage) -> Usage:
    try:
        return await offload(count)
    except Exception:
        # Never a credit lost: what cannot be counted cost what was held for it.
        logger.exception("usage of %s cannot be counted; its hold is charged", hold.request_id)
        return ceiling
