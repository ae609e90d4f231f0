"""A journal file on the disk: slots written in place.

It must never know what a slot means.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tokenbalance.books.holds.journal.lines import SLOT_BYTES, SLOTS_MAX, header_line, slot_line
from tokenbalance.disk.locked import LockedFile, boot_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.holds.journal.lines import Entry, Known

JOURNAL: Final = ".journal"
"""The suffix of a file in use; a process that can lock it may adopt it."""

UNMATCHED: Final = ".unmatched"
"""The suffix of a file that was put aside."""

_BYTES_MAX = (SLOTS_MAX + 1) * SLOT_BYTES


class SlotsFile(LockedFile):
    """A file of slots, locked by this process. Everything here raises OSError."""

    def read(self) -> bytes:
        """Read the file, up to the largest size that a journal can have."""
        return os.pread(self.descriptor, min(os.fstat(self.descriptor).st_size, _BYTES_MAX), 0)

    def rewrite(self, slots: Mapping[int, tuple[Entry, Known]]) -> None:
        """Write the header and these slots, by number, and flush them to the disk."""
        self.write(0, header_line(boot_id(), os.getpid()))
        for number, (entry, known) in slots.items():
            self.write(number, slot_line(entry, known))
        self.flush()

    def write(self, number: int, data: bytes) -> None:
        """Write all of the data, in place, where the line with this number begins."""
        offset = number * SLOT_BYTES
        written = os.pwrite(self.descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self.descriptor, data[written:], offset + written)
