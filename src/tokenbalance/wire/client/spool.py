"""Where a request body is kept that is too large for memory: its beginning in memory, then a file.

A file has no name: it is gone when it is closed, also if this process is killed. The disk is only
waited for in threads of their own, in pieces of PIECE_BYTES and more. It must never know what the
bytes mean.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final, TypeVar

from tokenbalance.errors import ServiceUnavailable, StorageFull

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

MEMORY_BYTES_MAX: Final = 1024 * 1024
"""Of a body that has no file yet."""
PIECE_BYTES: Final = 256 * 1024
"""Of a file, written and read at once; the last of what has arrived comes on top."""
THREADS: Final = 4
"""That wait for the disk."""
_LEFTOVER_S: Final = 60.0
"""Files that have a name for so long were left by a process that was killed while it made them."""
_PREFIX: Final = "upload-"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

logger = logging.getLogger(__name__)


class Spools:
    """The folder of the files, and the threads that wait for its disk."""

    def __init__(self, folder: Path) -> None:
        self._folder: Path = folder
        self._threads: ThreadPoolExecutor = ThreadPoolExecutor(THREADS, "spool")

    def open(self) -> None:
        """Make the folder, readable by nobody else, and remove what a killed process has left.

        Bodies that fit into memory are served without it.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            for file in self._folder.glob(f"{_PREFIX}*"):
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < time.time() - _LEFTOVER_S:
                        file.unlink()
        except OSError as error:
            logger.warning("the folder for uploads cannot be used: %s", error)

    def new(self, size: int = 0) -> Spool:
        """Keep another body, which is so many bytes long, as far as is known."""
        return Spool(self._file, self._threads, size)

    def close(self) -> None:
        """End the threads; every spool is to be closed before."""
        self._threads.shutdown(wait=True)

    def _file(self) -> IO[bytes]:
        return tempfile.TemporaryFile(buffering=0, prefix=_PREFIX, dir=self._folder)


class Spool:
    """The bytes of one body, written once and then read. Close it in any case."""

    __slots__ = (
        "_file",
        "_has_file",
        "_is_closed",
        "_lock",
        "_make",
        "_memory_bytes_max",
        "_pieces",
        "_threads",
        "kept",
        "memory_bytes",
        "size",
    )

    def __init__(
        self, make: Callable[[], IO[bytes]], threads: ThreadPoolExecutor, size: int
    ) -> None:
        self.size: int = 0
        self.memory_bytes: int = 0
        """Of it, those that are in memory."""
        self.kept: bytes | None = None
        """All of it, once it is sealed and if it fits into memory."""
        self._make: Callable[[], IO[bytes]] = make
        self._threads: ThreadPoolExecutor = threads
        self._pieces: list[bytes] = []
        self._memory_bytes_max: int = PIECE_BYTES if size > MEMORY_BYTES_MAX else MEMORY_BYTES_MAX
        self._has_file: bool = False
        self._file: IO[bytes] | None = None
        self._is_closed: bool = False
        self._lock: threading.Lock = threading.Lock()
        """Kept by whoever uses the file, so that it is not closed meanwhile."""

    async def write(self, piece: bytes) -> None:
        """Add bytes at the end; waits for the disk once there are many.

        Raises:
            StorageFull: the disk has no room for them.
            ServiceUnavailable: they cannot be written.

        """
        self._pieces.append(piece)
        self.size += len(piece)
        self.memory_bytes += len(piece)
        if self.memory_bytes > self._memory_bytes_max:
            await self._flush()

    async def seal(self) -> None:
        """End the writing; raises as `write`."""
        if self._has_file:
            await self._flush()
        else:
            self.kept = b"".join(self._pieces)
            self._pieces.clear()

    async def read(self, offset: int) -> bytes:
        """Read up to PIECE_BYTES from a place on; `b""` at the end.

        Raises:
            ServiceUnavailable: the disk cannot be read.

        """
        if self.kept is not None:
            return self.kept[offset : offset + PIECE_BYTES]
        return await self._on_disk(lambda: self.read_at(offset, PIECE_BYTES))

    def read_at(self, offset: int, size: int) -> bytes:
        """Read up to `size` bytes from a place on. It waits for the disk: call it in a thread.

        Raises:
            OSError: the disk cannot be read.
            ValueError: the spool is closed.

        """
        if self.kept is not None:
            return self.kept[offset : offset + size]
        with self._lock:
            if self._file is None:
                msg = "the spool is closed"
                raise ValueError(msg)
            return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        """Drop all of it. To free a large file takes a while, so another thread does it."""
        self._is_closed = True
        self._pieces.clear()
        if self._has_file:
            # Once the threads have ended, so does this process, and the file with it.
            with suppress(RuntimeError):
                _ = self._threads.submit(self._close)

    async def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._has_file = True
        self._memory_bytes_max = PIECE_BYTES
        await self._on_disk(lambda: self._append(pieces))
        self.memory_bytes = 0

    def _append(self, pieces: list[bytes]) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._file is None:
                self._file = self._make()
            rest = memoryview(b"".join(pieces))
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]

    def _close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            if error.errno in _FULL:
                logger.warning("the disk for uploads is full: %s", error)
                raise StorageFull from error
            logger.error("an upload cannot be stored: %s", error)  # noqa: TRY400 - it says it all
            raise ServiceUnavailable("The server cannot store the upload") from error
