"""The journal of this process, from opening to closing.

Owns when the file is flushed, and when it is replaced. It must never wait for the disk on the event
loop's thread, except to open and to close; a write only waits for the page cache.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from tokenbalance.books.holds.journal.adoption import Adoption
from tokenbalance.books.holds.journal.files import JOURNAL, SlotsFile
from tokenbalance.books.holds.journal.lines import State, slot_line
from tokenbalance.books.holds.journal.slots import JournalUnavailable, Slots
from tokenbalance.disk.locked import flush_and_close, flush_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tokenbalance.books.holds.journal.adoption import Abandoned
    from tokenbalance.books.holds.journal.lines import Entry, Known
    from tokenbalance.books.holds.journal.slots import Slot

logger = logging.getLogger(__name__)


class Journal:
    """The requests of this process, and those of dead processes."""

    def __init__(self, folder: Path, file: SlotsFile) -> None:
        """Do not call this: `open` makes a journal."""
        self._folder = folder
        self._slots = Slots(file)
        self._adoption = Adoption(folder)
        self._closed = False
        self._sync_running: asyncio.Task[bool] | None = None
        self._sync_next: asyncio.Task[bool] | None = None
        self._repairing: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Create the file of this process; after a fork, never before.

        Raises:
            JournalUnavailable: the folder or the file cannot be created or written.

        """
        try:
            file = SlotsFile.create(folder)
            try:
                file.rewrite({})
                file.rename(file.path.with_suffix(JOURNAL))
                flush_folder(folder)
            except BaseException:
                file.discard()
                raise
        except OSError as error:
            msg = f"The journal cannot be opened in {folder}: {error.strerror}"
            raise JournalUnavailable(msg) from error
        return cls(folder, file)

    @property
    def healthy(self) -> bool:
        """Whether requests may begin: every write has succeeded, or the file was repaired since."""
        return not self._closed and self._slots.trusted

    @property
    def in_use(self) -> int:
        """How many requests are in progress."""
        return len(self._slots.live)

    def begin(self, entry: Entry) -> Slot:
        """Record a request; must be called before its hold is placed.

        Raises:
            JournalUnavailable: too many requests are in progress, the write fails, or an earlier
                one failed and the file is not repaired. The request must not go on.
            ValueError: the entry does not fit in a slot together with the usage to come.

        """
        if not self.healthy:
            raise JournalUnavailable("The journal is closed or not repaired.")
        line = slot_line(entry, (State.PLACING, None))
        slot = self._slots.take(entry)
        try:
            self._slots.write(slot.number, line)
        except JournalUnavailable:
            self._slots.release(slot)
            raise
        return slot

    async def sync(self) -> None:
        """Flush what is written now to the disk. Simultaneous callers share one flush.

        This covers only writes that succeeded; `Slot.use` raises if one does not.

        Raises:
            JournalUnavailable: this flush failed, or an earlier one that is not repaired.

        """
        if self._sync_next is None:
            self._sync_next = asyncio.create_task(self._sync_after(self._sync_running))
        if not await asyncio.shield(self._sync_next):
            raise JournalUnavailable("The journal could not be flushed to the disk.")

    async def repair(self) -> None:
        """Write the requests in progress to a new file, if the current one failed or was removed.

        Does nothing while the journal is healthy, and leaves it unhealthy if the disk still fails.
        To be called every few seconds.
        """
        if self._closed:
            return
        if self._slots.file.is_gone:
            # Somebody has removed it, so nobody will ever read what is written there.
            self._slots.doubted = True
        if self.healthy:
            return
        if self._repairing is None:
            self._repairing = asyncio.create_task(self._repair())
        await asyncio.shield(self._repairing)

    def adopt(self) -> list[Abandoned]:
        """Take over the files of dead processes, by locking them.

        May be called in a thread. If several processes adopt at once, one of them gets each file.
        """
        return self._adoption.adopt()

    def close(self) -> None:
        """Remove the file; if requests are in progress, leave it to the process that adopts it."""
        if self._closed:
            return
        self._closed = True
        file = self._slots.file
        try:
            if self._slots.live:
                file.flush()
            else:
                file.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("the journal cannot be closed properly: %s", error.strerror)
        file.close()

    async def _sync_after(self, running: asyncio.Task[bool] | None) -> bool:
        if running is not None:
            await asyncio.wait([running])
        # This flush would be too early for anything written from here on.
        self._sync_running, self._sync_next = self._sync_next, None
        # After a failed flush the kernel may have dropped the pages; the next flush would succeed
        # without them.
        if self._slots.doubted or self._closed:
            return False
        try:
            # Its own descriptor: the file may be closed, or replaced, before the flush is over.
            await asyncio.to_thread(flush_and_close, os.dup(self._slots.file.descriptor))
        except OSError as error:
            logger.warning("the journal cannot be flushed: %s", error.strerror)
            self._slots.doubted = True
            return False
        return True

    async def _repair(self) -> None:
        try:
            await self._replace()
        except OSError as error:
            logger.warning("the journal cannot be repaired yet: %s", error.strerror)
        finally:
            self._repairing = None

    async def _replace(self) -> None:
        """Write a new file and rename it over the old one.

        The old file stays in place, and is written to, until the new one is on the disk with the
        same content. So a crash at any moment loses nothing that either of them has accepted.
        """
        new = await asyncio.to_thread(SlotsFile.create, self._folder)
        try:
            shown: dict[Slot, Known] = {}
            while changed := self._slots.changed_since(shown):
                # This ends: no request can begin meanwhile, and each slot has few changes ahead.
                shown |= changed
                numbers = {slot: number for number, slot in enumerate(shown, start=1)}
                await asyncio.to_thread(
                    new.rewrite,
                    {numbers[slot]: (slot.entry, known) for slot, known in changed.items()},
                )
            if self._closed:
                new.discard()
                return
            # A flush of the new file counts for nothing until its name in the folder is flushed.
            self._slots.doubted = True
            new.rename(self._slots.file.path)
        except BaseException:
            new.discard()
            raise
        self._slots.move(new, list(shown))
        await asyncio.to_thread(flush_folder, self._folder)
        self._slots.doubted = False
        logger.info("the journal has a new file; requests in progress: %d", self.in_use)
