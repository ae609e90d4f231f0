"""The sweep: ends the holds of dead processes, and sends the heartbeats of this process.

    in the journal of a dead process, however it died
        usage known         settled with it
        to be voided        voided
        dispatched          expired: charged what is known, flagged
        not yet dispatched  voided, or a tombstone where nothing was placed; after a power cut,
                            which may have lost the note of the dispatch, it is left to its lease
    in the books, with a lapsed lease
                            expired

Any number of replicas may sweep: every end is a compare-and-set, and the clock is the database's. A
sweep that has just reconnected to the database waits until the others have had a heartbeat.

It also removes waiters of dead processes and tombstones that have served, vacuums the open holds,
and renews statistics that the books have outgrown.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.holds.journal import JournalUnavailable, State
from tokenbalance.books.holds.leases import HEARTBEATS_PER_LEASE
from tokenbalance.books.ledger.book import Known, UnknownHold
from tokenbalance.books.pricing.rates import stored_rates
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.model import Caller, Hold, Purpose, Terms, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.books.holds.journal import Abandoned, Entry, Unfinished
    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


logger = logging.getLogger(__name__)

_HOLDS_AT_ONCE: Final = 500
_RETRY_S: Final = 1.0


class Sweep:
    """Sends the heartbeats of this process, and ends the lapsed holds of others."""

    def __init__(self, pool: Pool, book: Book, leases: Leases, sweep_s: float) -> None:
        self._pool = pool
        self._book = book
        self._leases = leases
        self._sweep_s = sweep_s
        self._heartbeat_s = book.lease_s / HEARTBEATS_PER_LEASE
        self._connected_since: float | None = None
        """Since when every heartbeat has succeeded, on the event loop's clock."""

    async def run(self) -> None:
        """Send heartbeats and sweep until cancelled; no error ends it."""
        async with asyncio.TaskGroup() as tasks:
            _ = tasks.create_task(_repeat(self._send_heartbeat, self._heartbeat_s))
            _ = tasks.create_task(_repeat(self._sweep, self._sweep_s))

    async def _send_heartbeat(self) -> None:
        try:
            await self._leases.send_heartbeat(self._book)
        except BaseException:
            self._connected_since = None
            raise
        if self._connected_since is None:
            self._connected_since = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        # Journals first: they have the usage where the books have only an estimate.
        try:
            await self._leases.open_journal(self._book)
            await self._leases.journal.repair()
            await self._end_abandoned()
        except JournalUnavailable:
            logger.exception("the journal is unavailable, so no request can begin")
        if self._others_had_a_heartbeat():
            await self._end_lapsed()
            await self._pool.execute(statements.FORGET_WAITERS)
            await self._pool.execute(statements.FORGET_TOMBSTONES)
        await self._analyse_outgrown()
        await self._vacuum_open_holds()

    def _others_had_a_heartbeat(self) -> bool:
        since = self._connected_since
        return since is not None and asyncio.get_running_loop().time() - since >= self._heartbeat_s

    async def _vacuum_open_holds(self) -> None:
        """Make room for new holds where those that ended have been.

        Autovacuum does the same once a minute, and a busy minute leaves more rows than the caches
        of a processor have room for. Of several replicas one vacuums.
        """
        if await self._pool.fetchval(statements.LITTERED):
            await self._pool.execute("VACUUM (SKIP_LOCKED) open_holds")

    async def _analyse_outgrown(self) -> None:
        """Replace plans that were made while the books were small.

        Autovacuum, where it is on, does the same within a minute or two. A database user who may
        not ANALYZE only gets a warning from the server.
        """
        for (table,) in cast("list[tuple[str]]", await self._pool.fetch(statements.OUTGROWN)):
            await self._pool.execute(f"ANALYZE (SKIP_LOCKED) {table}")

    async def _end_lapsed(self) -> None:
        more = True
        while more:
            lapsed = await self._book.lapsed(_HOLDS_AT_ONCE)
            more = False
            for known in lapsed:
                # This process is alive, whatever its leases say.
                if known.hold.request_id in self._leases:
                    continue
                if await self._book.expire(known.hold, known.usage):
                    more = len(lapsed) == _HOLDS_AT_ONCE
                    _log_expired(known.hold, known.usage)

    async def _end_abandoned(self) -> None:
        adopted = self._leases.journal.adopt()
        for abandoned in adopted:
            try:
                unknown = [left for left in abandoned.requests if not await self._end_left(left)]
            except UNAVAILABLE:
                # Leave the ones not read yet as well: while this process has them locked, nobody
                # can adopt them again, not even itself.
                for later in adopted:
                    later.leave()
                raise
            except Exception:
                logger.exception("journal file %s cannot be applied", abandoned.path.name)
                abandoned.leave()
            else:
                _put_away(abandoned, unknown)

    async def _end_left(self, left: Unfinished) -> bool:
        """End the request of one slot; False if the books do not have it."""
        entry = left.entry
        try:
            match left.state:
                case State.USED:
                    known = await self._known(entry)
                    _ = await self._book.settle(known.hold, left.usage or Usage())
                    logger.warning(
                        "request %s settled from the journal of a dead process", entry.request_id
                    )
                case State.DISPATCHED:
                    known = await self._known(entry)
                    if await self._book.expire(known.hold, known.usage, orphaned=True):
                        _log_expired(known.hold, known.usage)
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

    async def _known(self, entry: Entry) -> Known:
        """Read what is known of a request: in the books, else in the journal.

        Raises:
            UnknownHold: neither has its hold.

        """
        try:
            return await self._book.known(entry.account_id, entry.request_id)
        except UnknownHold:
            if entry.hold is None:
                raise
        amount, model, rates, known_input, estimated_output, tokens, limit_ids = entry.hold
        terms = Terms(
            entry.key_id, entry.endpoint, model, known_input, estimated_output, tokens, limit_ids
        )
        hold = Hold(entry.request_id, entry.account_id, amount, stored_rates(rates), terms)
        return Known.of(hold, known_input, 0)

    async def _void(self, left: Unfinished) -> None:
        entry = left.entry
        caller = Caller(0, entry.account_id, entry.key_id, 0)
        purpose = Purpose(entry.request_id, entry.endpoint, None)
        placed = None if entry.hold is None else entry.hold.amount
        await self._book.leave_tombstone(caller, purpose, placed=placed)
        logger.warning("request %s voided from the journal of a dead process", entry.request_id)


def _log_expired(hold: Hold, usage: Usage) -> None:
    logger.warning(
        "request %s expired, its process is gone; charged the known usage: %d tokens",
        hold.request_id,
        usage.total,
    )


def _put_away(abandoned: Abandoned, unknown: list[Unfinished]) -> None:
    if abandoned.corrupt:
        abandoned.keep("some of its lines cannot be read")
        return
    if not unknown:
        abandoned.done()
        return
    names = ", ".join(left.entry.request_id for left in unknown)
    logger.error("a journal file is put aside, these books do not have its requests: %s", names)
    abandoned.keep("its requests are not in these books")


async def _repeat(work: Callable[[], Awaitable[None]], period_s: float) -> None:
    while True:
        pause_s = period_s
        try:
            await work()
        except UNAVAILABLE as error:
            logger.warning("cannot send a heartbeat or sweep now: %s", type(error).__name__)
            pause_s = min(_RETRY_S, period_s)
        except Exception:
            logger.exception("a heartbeat or sweep failed")
        await asyncio.sleep(pause_s)
