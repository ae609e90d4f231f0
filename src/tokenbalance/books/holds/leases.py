"""The holds that this process answers for, and the sign of life that it gives for them.

A lease begins before its hold is placed and ends when the hold's end is committed. It has a slot in
the journal, from which another process learns what is left to do when this one has died, and it is
renewed, all leases in one statement, for those who cannot read the journal: they end a hold whose
lease has lapsed with what the last renewal said was known.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.books.holds.journal import Entry, Journal, JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tokenbalance.books.holds.journal import Slot
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.model import Caller, Claim, Hold, Purpose, Usage

logger = logging.getLogger(__name__)

RENEWALS_OF_A_LEASE: Final = 3
"""A lease is renewed this many times before it would end."""
_HOLDS_OF_A_STATEMENT: Final = 5000


@dataclass(slots=True, eq=False)
class Lease:
    """One request's hold, in this process's care."""

    caller: Caller
    purpose: Purpose
    slot: Slot
    hold: Hold | None = None
    """None until it is placed."""
    placing: bool = False
    """True while nobody here knows whether the hold is placed."""
    look: Callable[[], Callable[[], Usage]] | None = None
    """Looks at what was seen so far; what it gives counts that, and is called in a thread."""

    async def place(self, book: Book, claim: Claim, position: int | None = None) -> Hold | None:
        """Place the hold, if it fits at this moment.

        Raises what asyncpg raises, and then, as when this is cancelled, it may have been placed.
        """
        self.placing = True
        self.hold = await book.place(self.caller, self.purpose, claim, position=position)
        self.placing = False
        return self.hold


class Leases:
    """The leases of this process.

    Nothing begins before `open_journal`: a journal belongs to certain books, and only the database
    can say which they are.
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
        """Whether requests can begin, as far as the journal is concerned."""
        return self._journal is not None and self._journal.healthy

    async def open_journal(self, book: Book) -> None:
        """Open the journal for the books that these are, unless that was done.

        Raises:
            JournalUnavailable: the folder or the file cannot be made, or not be written.

        """
        if self._journal is None:
            self._journal = Journal.open(self._folder / await book.name())

    def close_journal(self) -> None:
        """Close the journal; what is left in it, another process ends."""
        if self._journal is not None:
            self._journal.close()

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._leases

    def begin(self, caller: Caller, purpose: Purpose) -> Lease:
        """Take a request into care, before its hold is placed.

        Raises:
            JournalUnavailable: what becomes of it could not be written down.

        """
        entry = Entry(purpose.request_id, caller.account_id, caller.key_id, purpose.endpoint)
        lease = Lease(caller, purpose, self.journal.begin(entry))
        self._leases[purpose.request_id] = lease
        return lease

    def end(self, lease: Lease) -> None:
        """Let go of a request whose hold has ended, or was never placed."""
        lease.slot.clear()
        del self._leases[lease.purpose.request_id]

    async def renew(self, book: Book) -> None:
        """Renew every lease, and note what has been seen so far; also a way to ask for an answer.

        Raises what asyncpg raises.
        """
        looks = [
            (lease.hold, _looked(lease, lease.hold))
            for lease in self._leases.values()
            if lease.hold is not None
        ]
        seen = await asyncio.to_thread(_count, looks) if looks else []
        for batch in _batches(seen):
            await book.renew(batch)


def _looked(lease: Lease, hold: Hold) -> Callable[[], Usage] | None:
    try:
        return None if lease.look is None else lease.look()
    except Exception:
        logger.exception("what was seen of %s cannot be looked at", hold.request_id)
        return None


def _count(
    looks: Iterable[tuple[Hold, Callable[[], Usage] | None]],
) -> list[tuple[Hold, Usage | None]]:
    return [(hold, None if count is None else _counted(hold, count)) for hold, count in looks]


def _counted(hold: Hold, count: Callable[[], Usage]) -> Usage | None:
    try:
        return count()
    except Exception:
        # The lease has to be renewed all the same.
        logger.exception("what was seen of %s cannot be counted", hold.request_id)
        return None


def _batches(seen: list[tuple[Hold, Usage | None]]) -> list[list[tuple[Hold, Usage | None]]]:
    """One at least, for the answer's sake."""
    size = _HOLDS_OF_A_STATEMENT
    return [seen[start : start + size] for start in range(0, max(len(seen), 1), size)]
