"""Journals of objects whose processes are dead: found, read, and removed when they are committed.

Owns a file once its process is gone. It must never touch a file that it cannot lock.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.disk.locked import NEW, LockedFile
from tokenbalance.owners.journal import OBJECTS
from tokenbalance.owners.lines import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tokenbalance.owners.lines import Written

logger = logging.getLogger(__name__)

UNMATCHED: Final = ".unmatched"
"""The suffix of a file that was put aside."""
_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Left:
    """What a dead process has noted; locked until `done`, `keep` or `leave` is called."""

    written: list[Written]
    damaged: int
    """How many lines cannot be read."""
    _file: LockedFile

    @property
    def name(self) -> str:
        """That of the file."""
        return self._file.path.name

    def done(self) -> None:
        """Remove the file: the table has all of it."""
        self._file.discard()

    def keep(self, reason: str) -> None:
        """Put the file aside for an operator; no process will adopt it again."""
        aside = self._file.path.with_suffix(UNMATCHED)
        logger.error("journal file %s is kept as %s: %s", self.name, aside.name, reason)
        try:
            self._file.rename(aside)
        except OSError as error:
            logger.warning("journal file %s cannot be renamed: %s", self.name, error.strerror)
        self._file.close()

    def leave(self) -> None:
        """Unlock the file unchanged; the next process that adopts gets it."""
        self._file.close()


class Adoption:
    """Takes over the files of dead processes."""

    def __init__(self) -> None:
        self._logged: set[Path] = set()

    def adopt(self, folder: Path) -> Iterator[Left]:
        """Take over every file whose process is dead, one after the other."""
        for path in sorted(folder.glob("*" + NEW)):
            self._remove_unused(path)
        for path in sorted(folder.glob("*" + OBJECTS)):
            left = self._take(path)
            if left is not None:
                yield left

    def _take(self, path: Path) -> Left | None:
        try:
            file = LockedFile.take(path)
            if file is None:
                return None
            try:
                read = read_lines(os.pread(file.descriptor, _BYTES_MAX, 0))
            except BaseException:
                file.close()
                raise
        except OSError as error:
            self._log(path, error.strerror or "error")
            return None
        if read is None:
            file.close()
            self._log(path, "its format is unknown")
            return None
        return Left(*read, file)

    def _remove_unused(self, path: Path) -> None:
        """Remove a file whose process died before using it."""
        try:
            file = LockedFile.take(path)
        except OSError as error:
            self._log(path, error.strerror or "error")
            return
        if file is not None:
            file.discard()

    def _log(self, path: Path, reason: str) -> None:
        """Log each file once, not every few seconds."""
        if path not in self._logged:
            self._logged.add(path)
            logger.warning("journal file %s is left alone: %s", path.name, reason)
