"""A form that has arrived whole: its fields as a document, its bytes, and its files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document
    from tokenbalance.wire.client.forms.boundary import Boundary
    from tokenbalance.wire.client.spool import Spool

_BUFFER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a file lies in the bytes of its form."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A form of one request; its bytes are kept until that has ended."""

    document: Document
    """Its fields. A file is an object: `filename`, `content_type` (or null) and `size`."""
    files: Mapping[str, tuple[Stored, ...]]
    """By the names of their fields, without `[]`."""
    boundary: Boundary
    spool: Spool
    """All of its bytes, as the client sent them."""

    @property
    def body(self) -> bytes | Spool:
        """What is sent upstream: its bytes, or the file in which they lie."""
        kept = self.spool.kept
        return self.spool if kept is None else kept

    def open(self, name: str, index: int = 0) -> io.BufferedReader:
        """Open a file of the form to be read and sought in; it waits for the disk, so in a thread.

        Args:
            name: of its field, without `[]`.
            index: which one, where the field has several.

        Raises:
            KeyError, IndexError: there is no such file.

        """
        return io.BufferedReader(_Section(self.spool, self.files[name][index]), _BUFFER_BYTES)


class _Section(io.RawIOBase):
    """A file inside the bytes of a form."""

    def __init__(self, spool: Spool, place: Stored) -> None:
        super().__init__()
        self._spool: Spool = spool
        self._place: Stored = place
        self._at: int = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._at

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._place.size}[whence]
        if start + offset < 0:
            msg = "negative seek position"
            raise ValueError(msg)
        self._at = start + offset
        return self._at

    @override
    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - Buffer is newer than Python 3.11
        size = min(len(buffer), max(self._place.size - self._at, 0))
        data = self._spool.read_at(self._place.offset + self._at, size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
