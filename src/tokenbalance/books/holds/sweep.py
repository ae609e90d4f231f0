"""The sweep: ends what dead processes left, and gives the sign of life of this one.

    left in the journal of a dead process, whichever way it died
        usage known        settled with it
        to be voided       voided
        dispatched         expired: charged what is known, flagged
        not yet dispatched voided; after a power cut, which may have taken the note of the
                           dispatch along, it is left to its lease
    left in the books, its lease ended
                           expired

Any number of replicas may sweep: every end is a compare-and-set, and time is the database's. A
sweep that has just got the database back gives the others time to renew their leases first.

It also keeps house: waiters of dead processes, and statistics that the books have outgrown.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.holds.journal import JournalUnavailable, State
from tokenbalance.books.holds.leases import RENEWALS_OF_A_LEASE
from tokenbalance.books.ledger.book import UnknownHold
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.model import Caller, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.books.holds.journal import Abandoned, Unfinished
    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Hold

logger = logging.getLogger(__name__)

_HOLDS_AT_ONCE: Final = 500
_RETRY_S: Final = 1.0


class Sweep:
    """Renews this process's leases, and ends those of others that have lapsed."""

    def __init__(self, pool: Pool, book: Book, leases: Leases, sweep_s: float) -> None:
        self._pool = pool
        self._book = book
        self._leases = leases
        self._sweep_s = sweep_s
        self._renewal_s = book.lease_s / RENEWALS_OF_A_LEASE
        self._in_touch_since: float | None = None
        """Since when every renewal has succeeded."""

    async def run(self) -> None:
        """Renew and sweep until cancelled; no error ends it."""
        async with asyncio.TaskGroup() as tasks:
            _ = tasks.create_task(_repeat(self._renew, self._renewal_s))
            _ = tasks.create_task(_repeat(self._sweep, self._sweep_s))

    async def _renew(self) -> None:
        try:
            await self._leases.renew(self._book)
        except BaseException:
            self._in_touch_since = None
            raise
        if self._in_touch_since is None:
            self._in_touch_since = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        # First, for a journal knows what was used where the books know an estimate.
        try:
            await self._leases.open_journal(self._book)
            await self._leases.journal.repair()
            await self._end_abandoned()
        except JournalUnavailable:
            logger.exception("there is no journal, and so nothing can begin")
        if self._others_had_time_to_renew():
            await self._end_lapsed()
            await self._pool.execute(statements.FORGET_WAITERS)
        await self._analyse_outgrown()

    def _others_had_time_to_renew(self) -> bool:
        since = self._in_touch_since
        return since is not None and asyncio.get_running_loop().time() - since >= self._renewal_s

    async def _analyse_outgrown(self) -> None:
        """Have plans made anew that books in their first minutes have outgrown.

        Autovacuum does as much within a minute or two, where it is on. Who may not analyse is told
        so by a warning, and nothing else happens.
        """
        for (table,) in cast("list[tuple[str]]", await self._pool.fetch(statements.OUTGROWN)):
            await self._pool.execute(f"ANALYZE (SKIP_LOCKED) {table}")

    async def _end_lapsed(self) -> None:
        more = True
        while more:
            lapsed = await self._book.lapsed(_HOLDS_AT_ONCE)
            more = False
            for known in lapsed:
                # This process lives, whatever its leases say.
                if known.hold.request_id in self._leases:
                    continue
                if await self._book.expire(known.hold, known.usage):
                    more = len(lapsed) == _HOLDS_AT_ONCE
                    _tell_expired(known.hold, known.usage)

    async def _end_abandoned(self) -> None:
        adopted = self._leases.journal.adopt()
        for abandoned in adopted:
            try:
                unknown = [left for left in abandoned.requests if not await self._end_left(left)]
            except UNAVAILABLE:
                # Those that were not looked at yet as well: as long as they are this process's,
                # nobody can adopt them again, not even it.
                for later in adopted:
                    later.leave()
                raise
            except Exception:
                logger.exception("journal %s cannot be applied", abandoned.path.name)
                abandoned.leave()
            else:
                _put_away(abandoned, unknown)

    async def _end_left(self, left: Unfinished) -> bool:
        """End what one slot of a dead process tells of; False if the books do not know of it."""
        entry = left.entry
        try:
            match left.state:
                case State.USED:
                    known = await self._book.known(entry.account_id, entry.request_id)
                    _ = await self._book.settle(known.hold, left.usage or Usage())
                    logger.warning("settled from a journal: %s", entry.request_id)
                case State.DISPATCHED:
                    known = await self._book.known(entry.account_id, entry.request_id)
                    if await self._book.expire(known.hold, known.usage, orphaned=True):
                        _tell_expired(known.hold, known.usage)
                case State.VOID:
                    await self._void(left)
                case State.PLACING:
                    if left.same_boot:
                        await self._void(left)
                case State.FREE:
                    pass
        except UnknownHold:
            return False
        return True

    async def _void(self, left: Unfinished) -> None:
        entry = left.entry
        caller = Caller(0, entry.account_id, entry.key_id, 0)
        await self._book.leave_tombstone(caller, Purpose(entry.request_id, entry.endpoint, None))
        logger.warning("voided from a journal: %s", entry.request_id)


def _tell_expired(hold: Hold, usage: Usage) -> None:
    logger.warning(
        "the process of %s was gone; charged what is known: %d tokens", hold.request_id, usage.total
    )


def _put_away(abandoned: Abandoned, unknown: list[Unfinished]) -> None:
    if abandoned.corrupt:
        abandoned.keep("some of its lines cannot be read")
        return
    if not unknown:
        abandoned.done()
        return
    names = ", ".join(left.entry.request_id for left in unknown)
    logger.error("a journal is kept aside, these books know nothing of its requests: %s", names)
    abandoned.keep("its requests are not in these books")


async def _repeat(work: Callable[[], Awaitable[None]], period_s: float) -> None:
    while True:
        pause_s = period_s
        try:
            await work()
        except UNAVAILABLE as error:
            logger.warning("cannot renew or sweep now: %s", type(error).__name__)
            pause_s = min(_RETRY_S, period_s)
        except Exception:
            logger.exception("a renewal or sweep failed")
        await asyncio.sleep(pause_s)
