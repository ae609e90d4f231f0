"""The slots of a journal: which line belongs to which request.

Owns the line numbers, and whether all writes have succeeded. It must never flush: no request waits
for the disk on its way.
"""

from __future__ import annotations

import heapq
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokenbalance.books.holds.journal.lines import FREED, SLOTS_MAX, State, slot_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.holds.journal.files import SlotsFile
    from tokenbalance.books.holds.journal.lines import Entry, Known, PlacedWith
    from tokenbalance.model import Usage

logger = logging.getLogger(__name__)


class JournalUnavailable(Exception):
    """The journal cannot keep what it was given: it is full, or a write or flush failed."""


@dataclass(slots=True, eq=False)
class Slot:
    """The line of one request, from before its hold is placed until its end."""

    entry: Entry
    number: int
    """The number of its line in the file."""
    _slots: Slots = field(repr=False)
    state: State = State.PLACING
    usage: Usage | None = None

    def dispatch(self, hold: PlacedWith | None = None) -> None:
        """Record that the request is about to be sent upstream.

        Args:
            hold: its hold as it was placed, in case the database forgets it.

        Raises:
            JournalUnavailable: the write failed; the request must not be sent.
            ValueError: the request has already got further.

        """
        if self.state is not State.PLACING:
            raise ValueError("Only a request whose hold was being placed can be dispatched.")
        if not self._slots.trusted:
            raise JournalUnavailable("The journal is not repaired.")
        if hold is None:
            self._slots.write(self.number, State.DISPATCHED)
        else:
            self.entry = self.entry.held(hold)
            line = slot_line(self.entry, (State.DISPATCHED, None))
            self._slots.write(self.number, line)
        self.state = State.DISPATCHED

    def use(self, usage: Usage) -> None:
        """Record the usage of the request; a later call replaces it.

        Raises:
            JournalUnavailable: the write failed. A repair will write it; until then only this
                process knows it.
            ValueError: the request has ended.

        """
        self._rewrite(State.USED, usage)

    def void(self) -> None:
        """Record that nothing was used: the hold is to be released.

        Raises:
            JournalUnavailable: the write failed, as in `use`.
            ValueError: the request has ended.

        """
        self._rewrite(State.VOID, None)

    def clear(self) -> None:
        """Free the slot: the end of the request is committed. Never raises; may be repeated.

        If the write fails, the slot will be read again later. That changes nothing, and a repair
        leaves it out.
        """
        if self.state is State.FREE:
            return
        self.state, self.usage = State.FREE, None
        with suppress(JournalUnavailable):
            self._slots.write(self.number, FREED)
        self._slots.release(self)

    def _rewrite(self, state: State, usage: Usage | None) -> None:
        if self.state is State.FREE:
            raise ValueError("The request has ended.")
        line = slot_line(self.entry, (state, usage))
        # Set before the write: if that fails, a repair writes it.
        self.state, self.usage = state, usage
        self._slots.write(self.number, line)


class Slots:
    """The slots in use, the free line numbers, and the file."""

    def __init__(self, file: SlotsFile) -> None:
        self.file = file
        self.live: set[Slot] = set()
        self.refused = False
        """Whether a write to this file has failed."""
        self.doubted = False
        """Whether a flush has failed, or the name of the file may not be on the disk yet."""
        self._free: list[int] = []
        self._end = 1

    @property
    def trusted(self) -> bool:
        """Whether every write and flush has succeeded."""
        return not (self.refused or self.doubted)

    def take(self, entry: Entry) -> Slot:
        """Take the slot with the lowest free number, so that the file stays short.

        Raises:
            JournalUnavailable: all are taken.

        """
        if len(self.live) >= SLOTS_MAX:
            raise JournalUnavailable("Too many requests are in progress.")
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number, self._end = self._end, self._end + 1
        slot = Slot(entry, number, self)
        self.live.add(slot)
        return slot

    def write(self, number: int, data: bytes) -> None:
        """Write a line, or its beginning.

        Raises:
            JournalUnavailable: the write failed.

        """
        try:
            self.file.write(number, data)
        except OSError as error:
            if not self.refused:
                logger.warning("the journal cannot be written: %s", error.strerror)
            self.refused = True
            raise JournalUnavailable("The journal cannot be written.") from error

    def release(self, slot: Slot) -> None:
        """Give a number back."""
        self.live.discard(slot)
        heapq.heappush(self._free, slot.number)

    def changed_since(self, shown: Mapping[Slot, Known]) -> dict[Slot, Known]:
        """What is known of the slots that `shown` lacks or shows differently."""
        known = {slot: (slot.state, slot.usage) for slot in (*shown, *self.live)}
        return {slot: now for slot, now in known.items() if shown.get(slot) != now}

    def move(self, file: SlotsFile, order: list[Slot]) -> None:
        """Switch to another file, which has these slots in this order."""
        self.file.close()
        self.file, self.refused = file, False
        self._free, self._end = [], len(order) + 1
        for number, slot in enumerate(order, start=1):
            if slot in self.live:
                slot.number = number
            else:
                self._free.append(number)
