"""A journal's file on the disk: made, locked, written in place, flushed, removed.

Owns every call of the operating system that concerns files. It must never know what a slot says.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tokenbalance.books.holds.journal.lines import SLOT_BYTES, SLOTS_MAX, header_line, slot_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.books.holds.journal.lines import Entry, Known

NEW: Final = ".new"
"""Ends the name of a file that is not in use yet."""

JOURNAL: Final = ".journal"
"""Ends the name of a file in use; whoever can lock it may adopt it."""

UNMATCHED: Final = ".unmatched"
"""Ends the name of a file that was put aside."""

_CREATE_ATTEMPTS = 10
_BYTES_MAX = (SLOTS_MAX + 1) * SLOT_BYTES
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LockedFile:
    """A file locked by this process. Everything but `close` and `discard` raises OSError."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Is not to be called: `create` and `take` lock it first."""
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def create(cls, folder: Path) -> LockedFile:
        """Make a file under a name that nobody adopts, and the folder if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_CREATE_ATTEMPTS):
            path = folder / f"{os.getpid()}-{os.urandom(6).hex()}{NEW}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # Another process may take it for left behind before it is locked, and remove it.
            if _lock(descriptor, path):
                return cls(path, descriptor)
            os.close(descriptor)
        raise FileNotFoundError(0, "new files disappear", str(folder))

    @property
    def is_gone(self) -> bool:
        """Whether its path no longer leads to it."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            return True

    @classmethod
    def take(cls, path: Path) -> LockedFile | None:
        """Open and lock a file; None when it is gone, or some process's."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            if _lock(descriptor, path):
                return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    @property
    def closed(self) -> bool:
        """Whether the lock was given up."""
        return self.descriptor < 0

    def read(self) -> bytes:
        """Read as much as a file of ours can have."""
        return os.pread(self.descriptor, min(os.fstat(self.descriptor).st_size, _BYTES_MAX), 0)

    def rewrite(self, slots: Mapping[int, tuple[Entry, Known]]) -> None:
        """Write the header and these slots, by number, and make them survive the machine."""
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

    def flush(self) -> None:
        """Make what is written survive the machine."""
        _flush(self.descriptor)

    def rename(self, path: Path) -> None:
        """Take another name, in the place of whatever has it."""
        self.path.rename(path)
        self.path = path

    def close(self) -> None:
        """Give up the lock. Later writes meet no file, and none that got its number."""
        if not self.closed:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.close()


def flush_and_close(descriptor: int) -> None:
    """Make what is written survive the machine. Raises OSError, and closes all the same."""
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive the machine. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def boot_id() -> str | None:
    """Which run of the machine this is; None where the kernel does not say."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return None


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file, unless another process has it or it no longer is what `path` names."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        # There, fsync leaves the data in the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)
