"""A file of which only so much is read, so that nothing it contains makes a reader go on and on."""

from __future__ import annotations

import io
from typing import BinaryIO, Final

PIECE_BYTES: Final = 256 * 1024
"""Of one read."""
_READ_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all reads together: twice the largest file that is accepted, and some more."""
_READS_MAX: Final = 400_000


class Unreadable(Exception):
    """A file asks for more than a file of audio needs."""


class BoundedFile:
    """Reads from the beginning of a file, within these bounds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bytes = _READ_BYTES_MAX
        self._reads = _READS_MAX

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or fewer at the end.

        Raises:
            Unreadable: those are too many.

        """
        if not 0 <= size <= PIECE_BYTES or self._reads <= 0 or self._bytes < size:
            raise Unreadable
        data = self._file.read(size)
        self._reads -= 1
        self._bytes -= len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()
