"""A file locked by the process that writes it, so that another one can tell that it is dead.

Owns how such files are created, locked, flushed and removed. It must never know what is in one.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Self

NEW: Final = ".new"
"""The suffix of a file that is not in use yet."""

_CREATE_ATTEMPTS = 10
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LockedFile:
    """A file locked by this process. Everything but `close` and `discard` raises OSError."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Do not call this: `create` and `take` lock the file first."""
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Create a file under a name that is never adopted, and its folder if necessary."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_CREATE_ATTEMPTS):
            path = folder / f"{os.getpid()}-{os.urandom(6).hex()}{NEW}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # Before it is locked, another process may think it abandoned and remove it.
            if _lock(descriptor, path):
                return cls(path, descriptor)
            os.close(descriptor)
        raise FileNotFoundError(
            0, "newly created files are removed by another process", str(folder)
        )

    @property
    def is_gone(self) -> bool:
        """Whether its path no longer leads to it."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            return True

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Open and lock a file; None if it is gone or locked by a process."""
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
        """Whether it was closed, and so unlocked."""
        return self.descriptor < 0

    def flush(self) -> None:
        """Flush to the disk: what is written then survives a crash of the machine."""
        _flush(self.descriptor)

    def rename(self, path: Path) -> None:
        """Rename the file, replacing any file with that name."""
        self.path.rename(path)
        self.path = path

    def close(self) -> None:
        """Close and unlock. Later writes fail, and reach no file that reuses the descriptor."""
        if not self.closed:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.close()


def flush_and_close(descriptor: int) -> None:
    """Flush to the disk, and close even if that fails. Raises OSError."""
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def boot_id() -> str | None:
    """Identify this boot of the machine; None if the kernel does not say."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return None


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; False if it is locked, or if `path` no longer names it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        # On macOS, fsync leaves the data in the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)
