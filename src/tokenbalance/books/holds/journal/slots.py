"""The slots of a journal: each request's line, and which line is whose.

Owns the numbers, and whether the disk has taken what it was given. It must never flush: no request
waits for the disk on its way.
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

    from tokenbalance.books.holds.journal.files import LockedFile
    from tokenbalance.books.holds.journal.lines import Entry, Known
    from tokenbalance.model import Usage

logger = logging.getLogger(__name__)


class JournalUnavailable(Exception):
    """The journal cannot promise to keep what it was given: it is full, or the disk refuses."""


@dataclass(slots=True, eq=False)
class Slot:
    """One request's line in the journal, from before its hold is placed until its end."""

    entry: Entry
    number: int
    """Which line of the file it is."""
    _slots: Slots = field(repr=False)
    state: State = State.PLACING
    usage: Usage | None = None

    def dispatch(self) -> None:
        """Write down that the request is about to be sent upstream.

        Raises:
            JournalUnavailable: the disk refuses; the request must not be sent.
            ValueError: the request is further than that.

        """
        if self.state is not State.PLACING:
            raise ValueError("Only a request whose hold was being placed is dispatched.")
        if not self._slots.trusted:
            raise JournalUnavailable("The journal is not repaired.")
        self._slots.write(self.number, State.DISPATCHED.value)
        self.state = State.DISPATCHED

    def use(self, usage: Usage) -> None:
        """Write down what the request used. Said again, the later usage counts.

        Raises:
            JournalUnavailable: the disk refuses. A repair will write it; until then it is
                known to this process alone.
            ValueError: the request has ended.

        """
        self._rewrite(State.USED, usage)

    def void(self) -> None:
        """Write down that nothing was used: whatever is held is to be given back.

        Raises:
            JournalUnavailable: the disk refuses, as in `use`.
            ValueError: the request has ended.

        """
        self._rewrite(State.VOID, None)

    def clear(self) -> None:
        """Forget the request: its end is committed. Never raises, and may be said again.

        Where the disk refuses, the slot stays to be read once more; that changes nothing, and a
        repair leaves it out.
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
        # Before the disk is asked: what it refuses, a repair writes.
        self.state, self.usage = state, usage
        self._slots.write(self.number, line)


class Slots:
    """The slots in use, the free numbers, and the file that they are in."""

    def __init__(self, file: LockedFile) -> None:
        self.file = file
        self.live: set[Slot] = set()
        self.refused = False
        """A write has failed since the file was new."""
        self.doubted = False
        """A flush has failed since, or the folder may not show the file yet."""
        self._free: list[int] = []
        self._end = 1

    @property
    def trusted(self) -> bool:
        """Whether the disk has taken everything."""
        return not (self.refused or self.doubted)

    def take(self, entry: Entry) -> Slot:
        """Take the lowest free number, so that the file stays short.

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
        """Write the beginning of a line, or all of it.

        Raises:
            JournalUnavailable: the disk refuses.

        """
        try:
            self.file.write(number, data)
        except OSError as error:
            if not self.refused:
                logger.warning("the journal cannot be written: %s", error.strerror)
            self.refused = True
            raise JournalUnavailable("The disk refuses.") from error

    def release(self, slot: Slot) -> None:
        """Give a number back."""
        self.live.discard(slot)
        heapq.heappush(self._free, slot.number)

    def changed_since(self, shown: Mapping[Slot, Known]) -> dict[Slot, Known]:
        """What is known now of the slots that another file shows differently, or not at all."""
        known = {slot: (slot.state, slot.usage) for slot in (*shown, *self.live)}
        return {slot: now for slot, now in known.items() if shown.get(slot) != now}

    def move(self, file: LockedFile, order: list[Slot]) -> None:
        """Go on in another file that shows these slots in this order."""
        self.file.close()
        self.file, self.refused = file, False
        self._free, self._end = [], len(order) + 1
        for number, slot in enumerate(order, start=1):
            if slot in self.live:
                slot.number = number
            else:
                self._free.append(number)
