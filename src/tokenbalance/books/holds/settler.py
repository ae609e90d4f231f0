"""The ends of holds: settle, void and tombstone, tried until the database has committed them.

The request tries first. From then on an end cannot be lost:

    the request is cancelled      a task that nobody cancels takes over
    the database is unavailable   the end is flushed to the journal, the request goes on, and a task
                                  tries again
    the process ends              another process commits what is in the journal
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.books.holds.journal import JournalUnavailable, State
from tokenbalance.books.ledger.book import UnknownHold
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.offload import offload_fairly

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tokenbalance.books.holds.leases import Lease, Leases
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.model import Charge, Hold, Usage

logger = logging.getLogger(__name__)

_RETRY_FIRST_S: Final = 0.05
_RETRY_MOST_S: Final = 1.0
_RETRY_UNEXPECTED_S: Final = 10.0
"""After an error that is not likely to pass."""

Outcome: TypeAlias = "asyncio.Future[Charge | None]"
End: TypeAlias = "Callable[[], Awaitable[Charge | None]]"
"""Commits the end of a hold. Safe to repeat, because it is a compare-and-set."""


class Settler:
    """Ends each hold exactly once, whatever happens to its request."""

    def __init__(self, book: Book, leases: Leases) -> None:
        self._book = book
        self._leases = leases
        self._pending: set[Lease] = set()
        self._none_pending = asyncio.Event()
        self._none_pending.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def settle(
        self,
        lease: Lease,
        hold: Hold,
        usage: Usage | None,
        count: Callable[[], Usage],
        ceiling: Usage,
    ) -> Awaitable[Charge | None]:
        """Charge what was used. Its end begins with the call, whoever waits for it.

        Args:
            lease: the lease of the request.
            hold: its hold, to be ended.
            usage: what the upstream reported; None if it reported nothing usable.
            count: counts the usage if the upstream did not report it; called in a thread.
            ceiling: the most that can have been used, charged if `count` fails.

        Returns:
            The charge once it is committed; None if it is safe in the journal instead, or if the
            hold was already voided.

        """
        self._begin(lease)
        if usage is not None:
            return self._end(lease, self._settling(lease, hold, usage))
        outcome = _new_outcome()
        self._start(self._count_and_settle(lease, hold, (count, ceiling), outcome))
        return outcome

    async def void(self, lease: Lease, hold: Hold) -> None:
        """Release the whole hold; returns when that is committed or safe in the journal."""
        self._begin(lease)
        if lease.slot.state is not State.VOID:
            _record(lease, lease.slot.void)
        _ = await self._end(lease, partial(self._book.void, hold, lease.trace))

    def leave_tombstone_later(self, lease: Lease) -> None:
        """Void a hold that may or may not have been placed, in the background.

        The tombstone is the open hold of nothing, with which a late placement conflicts, so that it
        cannot succeed. Without a hold the request leaves no row in the ledger.
        """
        self._begin(lease)
        _record(lease, lease.slot.void)
        leave_tombstone = partial(
            self._book.leave_tombstone, lease.caller, lease.purpose, lease.trace
        )
        self._start(self._repeat(lease, leave_tombstone, _new_outcome()))

    async def drain(self, timeout_s: float) -> int:
        """Wait for pending ends, and give up those that are not committed in time.

        Returns:
            How many were given up; they are in the journal.

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
        noted = lease.slot.usage
        if noted is None or noted != usage:
            _record(lease, partial(lease.slot.use, usage))
        return partial(self._book.settle, hold, usage, lease.trace, lease.objects)

    async def _count_and_settle(
        self,
        lease: Lease,
        hold: Hold,
        counting: tuple[Callable[[], Usage], Usage],
        outcome: Outcome,
    ) -> None:
        usage = await _counted(lease.caller.account_id, hold, *counting)
        await self._repeat(lease, self._settling(lease, hold, usage), outcome)

    async def _end(self, lease: Lease, end: End) -> Charge | None:
        """End a hold within its request; if that fails, in a task of its own."""
        try:
            charge = await end()
        except UnknownHold:
            _report_unknown(lease)
            charge = None
        except asyncio.CancelledError:
            self._start(self._repeat(lease, end, _new_outcome()))
            raise
        except Exception as error:  # noqa: BLE001 - it is logged when it is tried again
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
            lease: the lease of the request.
            end: commits the end.
            outcome: set when the end is committed or safe in the journal.
            error: the error of the first attempt, if there was one.

        """
        pause_s = _RETRY_FIRST_S
        is_safe = False
        while True:
            if error is not None:
                pause_s = _pause_after(error, lease, pause_s)
                is_safe = is_safe or await self._secure(lease, outcome)
                await asyncio.sleep(pause_s)
            try:
                charge = await end()
                break
            except UnknownHold:
                _report_unknown(lease)
                charge = None
                break
            except Exception as again:  # noqa: BLE001 - it is logged when it is tried again
                error = again
        self._ended(lease)
        if not outcome.done():
            outcome.set_result(charge)

    async def _secure(self, lease: Lease, outcome: Outcome) -> bool:
        """Flush the end to the disk, and let the request go on."""
        try:
            await self._leases.journal.sync()
        except JournalUnavailable:
            logger.exception("the end of request %s is in memory only", lease.purpose.request_id)
            return False
        if not outcome.done():
            outcome.set_result(None)
        return True


def _report_unknown(lease: Lease) -> None:
    """Report that there was nothing to end."""
    logger.critical("these books have no hold for request %s", lease.purpose.request_id)


def _pause_after(error: Exception, lease: Lease, before_s: float) -> float:
    """Log why the end failed; returns the pause before the next attempt, in seconds."""
    if not isinstance(error, UNAVAILABLE):
        logger.error("hold %s cannot be ended", lease.purpose.request_id, exc_info=error)
        return _RETRY_UNEXPECTED_S
    if before_s == _RETRY_FIRST_S:
        # Only once: a thousand holds may wait for the database for hours.
        logger.warning(
            "hold %s cannot be ended now and will be retried until it can: %s",
            lease.purpose.request_id,
            type(error).__name__,
        )
    return min(before_s * 2, _RETRY_MOST_S)


def _new_outcome() -> Outcome:
    """Make the future that a request waits for; cancelling it cancels nothing else."""
    return asyncio.get_running_loop().create_future()


def _record(lease: Lease, write: Callable[[], None]) -> None:
    try:
        write()
    except JournalUnavailable:
        # The books come next. Only if they fail as well may the end be lost.
        logger.exception(
            "the end of request %s cannot be written to the journal", lease.purpose.request_id
        )


async def _counted(
    account_id: int, hold: Hold, count: Callable[[], Usage], ceiling: Usage
) -> Usage:
    try:
        return await offload_fairly(account_id, ceiling.input, count)
    except Exception:
        # No credit may be lost: usage that cannot be counted costs its whole hold.
        logger.exception(
            "the usage of %s cannot be counted; its whole hold is charged", hold.request_id
        )
        return ceiling
