"""The journal of objects: who has what, written down before anybody can see its id.

    noted       a line is appended to the file of this process, in one write
    committed   the table has it: the line counts no more
    overdue     noted a while ago and still not committed: `upkeep` commits it
    adopted     its process is dead: the upkeep of another one commits it

A file whose lines are all committed is emptied or removed, and a long one is followed by another.
Owns the files of this process and what is not committed of them. It must never wait for the disk on
the event loop's thread; a write only waits for the page cache, and so survives this process, not
the machine. `sync` is for the moment when nothing else has it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from tokenbalance.disk.locked import LockedFile, flush_and_close
from tokenbalance.owners.lines import HEADER, Written, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

logger = logging.getLogger(__name__)

OBJECTS: Final = ".objects"
"""The suffix of a file in use; a process that can lock it may adopt it."""
ROTATED_BYTES: Final = 1024 * 1024
"""A file of this size gets no more lines."""
_EMPTIED_BYTES: Final = 64 * 1024
"""A file of this size is emptied when nothing in it counts any more."""

Key: TypeAlias = "tuple[int, str, str]"
"""An account, a kind and an id."""


class ObjectsNotNoted(Exception):
    """The journal could not be written: it is not open, or the disk is full or fails."""


@dataclass(slots=True, eq=False)
class _File:
    locked: LockedFile
    size: int = 0
    pending: int = 0
    """How many of its lines count."""


@dataclass(slots=True, eq=False)
class Line:
    """What was noted and is not committed yet."""

    written: Written
    noted_at: float
    """By `time.monotonic`."""
    file: _File | None
    """None: it is committed."""
    left: set[Key]
    """The objects in it that are not committed, if others than who noted it may commit them."""


class ObjectJournal:
    """What this process has noted."""

    def __init__(self, folder: Path) -> None:
        self._parent = folder
        self.folder: Path | None = None
        """Where its files are, and those of the other processes with these books."""
        self._current: _File | None = None
        self._lines: dict[Line, None] = {}
        """What counts, oldest first."""
        self._by_key: dict[Key, list[Line]] = {}
        self._closed = False
        self._failed = False
        self._sync_running: asyncio.Task[bool] | None = None
        self._sync_next: asyncio.Task[bool] | None = None

    def open(self, books: str) -> None:
        """Name the books that its lines belong to; before that nothing can be noted."""
        self.folder = self._parent / books

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def ready(self) -> bool:
        """Whether it is open, and the disk took what was written last."""
        return self.folder is not None and not self._failed

    async def repair(self) -> None:
        """Try the disk again where it has failed. To be called now and then."""
        if not self._failed:
            return
        try:
            file = self._writable(len(HEADER))
            await asyncio.to_thread(flush_and_close, os.dup(file.locked.descriptor))
        except OSError:
            return
        self._failed = False

    def note(self, written: Written, keys: Iterable[Key] = ()) -> Line:
        """Append a line; it is written when this returns.

        Args:
            written: what it says.
            keys: its objects, where they will be committed by somebody who does not have the line.

        Raises:
            ObjectsNotNoted: it is not.

        """
        data = line_of(written)
        try:
            file = self._writable(len(data))
            _append(file, data)
        except OSError as error:
            self._leave_current()
            self._log(error)
            raise ObjectsNotNoted from error
        self._failed = False
        file.pending += 1
        line = Line(written, time.monotonic(), file, set(keys))
        self._lines[line] = None
        for key in line.left:
            self._by_key.setdefault(key, []).append(line)
        return line

    def objects_committed(self, keys: Iterable[Key]) -> None:
        """Let lines count no more whose objects are all committed."""
        if not self._by_key:
            return
        for key in keys:
            for line in self._by_key.pop(key, ()):
                line.left.discard(key)
                if not line.left:
                    self.committed(line)

    def committed(self, line: Line) -> None:
        """Let a line count no more; may be repeated."""
        file = line.file
        if file is None:
            return
        line.file = None
        del self._lines[line]
        for key in line.left:
            others = [other for other in self._by_key.pop(key, ()) if other is not line]
            if others:
                self._by_key[key] = others
        file.pending -= 1
        if file.pending:
            return
        if file is not self._current:
            file.locked.discard()
        elif file.size > _EMPTIED_BYTES:
            try:
                os.ftruncate(file.locked.descriptor, len(HEADER))
                file.size = len(HEADER)
            except OSError:
                self._current = None
                file.locked.discard()

    def give_up(self, line: Line) -> None:
        """Try a line no more, and leave it in its file; that outlives this process."""
        self._lines.pop(line, None)
        if line.file is self._current:
            self._current = None

    def overdue(self, age_s: float, most: int) -> list[Line]:
        """Find the oldest lines that have counted for longer than this."""
        until = time.monotonic() - age_s
        found: list[Line] = []
        for line in self._lines:
            if line.noted_at > until or len(found) == most:
                break
            found.append(line)
        return found

    async def sync(self) -> None:
        """Flush what is noted to the disk. Simultaneous callers share one flush.

        Raises:
            ObjectsNotNoted: that failed.

        """
        if self._sync_next is None:
            self._sync_next = asyncio.create_task(self._sync_after(self._sync_running))
        if not await asyncio.shield(self._sync_next):
            raise ObjectsNotNoted

    def close(self) -> None:
        """Remove the files; those with lines that count are left to another process."""
        self._closed = True
        self._leave_current()
        for file in {line.file for line in self._lines}:
            if file is not None:
                file.locked.close()

    def leave_removed(self) -> None:
        """Begin another file if somebody has removed the current one. To be called now and then."""
        if self._current is not None and self._current.locked.is_gone:
            self._leave_current()

    def _leave_current(self) -> None:
        """Append nothing more to the current file; it goes when its lines do."""
        file, self._current = self._current, None
        if file is not None and not file.pending:
            file.locked.discard()

    def _writable(self, more: int) -> _File:
        file = self._current
        if file is not None and file.size + more <= ROTATED_BYTES:
            return file
        if self.folder is None or self._closed:
            raise OSError(0, "the journal is not open")
        self._leave_current()
        locked = LockedFile.create(self.folder)
        try:
            file = _File(locked)
            _append(file, HEADER)
            locked.rename(locked.path.with_suffix(OBJECTS))
        except BaseException:
            locked.discard()
            raise
        self._current = file
        return file

    def _log(self, error: OSError) -> None:
        """Log the first of several failures."""
        if not self._failed:
            self._failed = True
            reason = error.strerror or "error"
            logger.error("the journal of objects cannot be written: %s", reason)

    async def _sync_after(self, running: asyncio.Task[bool] | None) -> bool:
        if running is not None:
            await asyncio.wait([running])
        # This flush would be too early for anything written from here on.
        self._sync_running, self._sync_next = self._sync_next, None
        files = {line.file for line in self._lines}
        try:
            for file in files:
                if file is not None and not file.locked.closed:
                    await asyncio.to_thread(flush_and_close, os.dup(file.locked.descriptor))
        except OSError as error:
            self._log(error)
            return False
        return True


def _append(file: _File, data: bytes) -> None:
    """Append all of the data in one write, or fail; then nothing may be appended any more."""
    written = os.pwrite(file.locked.descriptor, data, file.size)
    if written < len(data):
        raise OSError(0, "no space left on the device")
    file.size += written
