"""The leases of this process: the holds that it is responsible for, and its heartbeat.

A lease begins before its hold is placed and ends when the end of the hold is committed. It has a
slot in the journal: if this process dies, another one reads there what is left to do.

The heartbeat is for processes that cannot read the journal. Every `lease_s / HEARTBEATS_PER_LEASE`
seconds the process renews all of its leases in one statement, and notes in the books the usage seen
so far. If the heartbeats stop, the leases lapse, and a sweep ends each hold with the usage that the
last heartbeat noted.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.holds.journal import Entry, Journal, JournalUnavailable, PlacedWith
from tokenbalance.model import UNTRACED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tokenbalance.books.holds.journal import Slot
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.model import Caller, Claim, Hold, Purpose, Trace, Usage

logger = logging.getLogger(__name__)

HEARTBEATS_PER_LEASE: Final = 3
"""How many heartbeats renew a lease before it would lapse."""
_HOLDS_PER_STATEMENT: Final = 5000


@dataclass(slots=True, eq=False)
class Lease:
    """The hold of one request in progress."""

    caller: Caller
    purpose: Purpose
    slot: Slot
    hold: Hold | None = None
    """None until it is placed."""
    placing: bool = False
    """True while this process does not know whether the hold is placed."""
    look: Callable[[], Callable[[], Usage]] | None = None
    """Takes what was seen so far, and returns a function that counts it, called in a thread."""
    trace: Trace = UNTRACED
    """How the request went; known when its end begins."""
    objects: str | None = None
    """Objects that become the caller's with the charge, as JSON; None: there are none."""

    async def place(self, book: Book, claim: Claim, position: int | None = None) -> Hold | None:
        """Place the hold, if it fits at this moment.

        Raises what asyncpg raises. After an error or a cancellation it may have been placed.
        """
        self.placing = True
        self.hold = await book.place(self.caller, self.purpose, claim, position=position)
        self.placing = False
        return self.hold

    def dispatch(self) -> None:
        """Record in the journal that the request is about to be sent, and how it is held.

        Raises:
            JournalUnavailable, ValueError: as for the slot.

        """
        self.slot.dispatch(None if self.hold is None else _placed_with(self.hold))


class Leases:
    """The leases of this process.

    No lease begins before `open_journal`: a journal belongs to certain books, and only the database
    knows which these are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal: Journal | None = None
        self._leases: dict[str, Lease] = {}

    @property
    def journal(self) -> Journal:
        """The journal of this process.

        Raises:
            JournalUnavailable: it is not open yet.

        """
        if self._journal is None:
            raise JournalUnavailable("The journal is not open yet.")
        return self._journal

    @property
    def ready(self) -> bool:
        """Whether the journal is open and healthy, so that requests can begin."""
        return self._journal is not None and self._journal.healthy

    async def open_journal(self, book: Book) -> None:
        """Open the journal of these books, unless it is already open.

        Raises:
            JournalUnavailable: the folder or the file cannot be created or written.

        """
        if self._journal is None:
            self._journal = Journal.open(self._folder / await book.name())

    def close_journal(self) -> None:
        """Close the journal; another process ends what is left in it."""
        if self._journal is not None:
            self._journal.close()

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._leases

    def begin(self, caller: Caller, purpose: Purpose) -> Lease:
        """Begin the lease of a request, before its hold is placed.

        Raises:
            JournalUnavailable: the journal could not record it.

        """
        entry = Entry(purpose.request_id, caller.account_id, caller.key_id, purpose.endpoint)
        lease = Lease(caller, purpose, self.journal.begin(entry))
        self._leases[purpose.request_id] = lease
        return lease

    def end(self, lease: Lease) -> None:
        """End the lease of a request whose hold has ended or was never placed."""
        lease.slot.clear()
        del self._leases[lease.purpose.request_id]

    async def send_heartbeat(self, book: Book) -> None:
        """Renew every lease, note the usage seen so far, and restore holds that are forgotten.

        Without leases it still sends a statement, which shows whether the database answers.

        Raises what asyncpg raises.
        """
        looks = [
            (lease.hold, _looked_at(lease, lease.hold))
            for lease in self._leases.values()
            if lease.hold is not None
        ]
        seen = await asyncio.to_thread(_count, looks) if looks else []
        for batch in _batches(seen):
            if await book.renew(batch) < len(batch):
                await self._restore(book, [hold for hold, _ in batch])

    async def _restore(self, book: Book, holds: list[Hold]) -> None:
        restored = await book.restore([hold for hold in holds if hold.request_id in self._leases])
        if restored:
            logger.warning(
                "%d holds were lost in a crash or failover of the database, and placed again",
                restored,
            )


def _placed_with(hold: Hold) -> PlacedWith | None:
    if hold.terms is None:
        return None
    _, _, model, known_input, estimated_output, tokens, limit_ids = hold.terms
    rates = None if hold.rates is None else hold.rates.text
    return PlacedWith(hold.amount, model, rates, known_input, estimated_output, tokens, limit_ids)


def _looked_at(lease: Lease, hold: Hold) -> Callable[[], Usage] | None:
    try:
        return None if lease.look is None else lease.look()
    except Exception:
        logger.exception("the response to %s so far cannot be read", hold.request_id)
        return None


def _count(
    looks: Iterable[tuple[Hold, Callable[[], Usage] | None]],
) -> list[tuple[Hold, Usage | None]]:
    return [(hold, None if count is None else _counted(hold, count)) for hold, count in looks]


def _counted(hold: Hold, count: Callable[[], Usage]) -> Usage | None:
    try:
        return count()
    except Exception:
        # The lease has to be renewed anyway.
        logger.exception("the usage of %s so far cannot be counted", hold.request_id)
        return None


def _batches(seen: list[tuple[Hold, Usage | None]]) -> list[list[tuple[Hold, Usage | None]]]:
    """Split into batches; at least one, so that a statement is sent."""
    size = _HOLDS_PER_STATEMENT
    return [seen[start : start + size] for start in range(0, max(len(seen), 1), size)]
