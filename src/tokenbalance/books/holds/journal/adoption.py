"""The files of dead processes: finding them, reading them, and removing them or putting them aside.

Owns a file once its process is gone. It must never touch a file that it cannot lock.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.books.holds.journal.files import JOURNAL, UNMATCHED, SlotsFile
from tokenbalance.books.holds.journal.lines import SLOT_BYTES, State, read_header, read_slot
from tokenbalance.disk.locked import NEW, boot_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tokenbalance.books.holds.journal.lines import Entry
    from tokenbalance.model import Usage

logger = logging.getLogger(__name__)


class _UnknownFormat(Exception):
    """The file is of another version."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A request that a dead process had in progress."""

    entry: Entry
    state: State
    usage: Usage | None
    same_boot: bool
    """True if the machine has not restarted since; then the state is the last one. Otherwise, or if
    that is unknown, the request may have got further than its state says."""


@dataclass(slots=True, eq=False)
class Abandoned:
    """The file of a dead process, locked until `done`, `keep` or `leave` is called."""

    requests: tuple[Unfinished, ...]
    corrupt: int
    """How many lines are unreadable: written in part, or damaged."""
    _file: SlotsFile

    @property
    def path(self) -> Path:
        """Where the file is, or was."""
        return self._file.path

    def done(self) -> None:
        """Remove the file: all of it is in the books."""
        self._end(self.path.unlink)

    def keep(self, reason: str) -> None:
        """Put the file aside for an operator; no process will adopt it again."""
        aside = self.path.with_suffix(UNMATCHED)
        logger.warning("journal file %s is kept as %s: %s", self.path.name, aside.name, reason)
        self._end(lambda: self.path.rename(aside))

    def leave(self) -> None:
        """Unlock the file unchanged; the next process that adopts gets it."""
        self._file.close()

    def _end(self, act: Callable[[], object]) -> None:
        if self._file.closed:
            return
        try:
            act()
        except OSError as error:
            logger.warning(
                "journal file %s cannot be removed or renamed: %s", self.path.name, error.strerror
            )
        finally:
            self._file.close()


class Adoption:
    """Takes over the files of dead processes in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logged: set[Path] = set()

    def adopt(self) -> list[Abandoned]:
        """Take over every file whose process is dead. May be called in a thread."""
        self._remove_unused()
        found = [self._adopt(path) for path in sorted(self._folder.glob("*" + JOURNAL))]
        return [abandoned for abandoned in found if abandoned is not None]

    def _adopt(self, path: Path) -> Abandoned | None:
        try:
            file = SlotsFile.take(path)
            return None if file is None else _read(file)
        except _UnknownFormat:
            self._log(path, "its format is unknown")
        except OSError as error:
            self._log(path, error.strerror or "error")
        return None

    def _log(self, path: Path, reason: str) -> None:
        """Log each file once, not every few seconds."""
        if path not in self._logged:
            self._logged.add(path)
            logger.warning("journal file %s is left alone: %s", path.name, reason)

    def _remove_unused(self) -> None:
        """Remove files whose processes died before using them."""
        for path in self._folder.glob("*" + NEW):
            with suppress(OSError):
                file = SlotsFile.take(path)
                if file is not None:
                    file.discard()


def _read(file: SlotsFile) -> Abandoned:
    """Read a file, closing it if that fails."""
    try:
        return _parsed(file, file.read())
    except BaseException:
        file.close()
        raise


def _parsed(file: SlotsFile, text: bytes) -> Abandoned:
    header = read_header(text[:SLOT_BYTES])
    if header is not None and not header.readable:
        raise _UnknownFormat
    same_boot = header is not None and header.boot_id is not None and header.boot_id == boot_id()
    lines = (text[at : at + SLOT_BYTES] for at in range(SLOT_BYTES, len(text), SLOT_BYTES))
    read = [read_slot(line) for line in lines if line[:1] != State.FREE.value]
    requests = tuple(Unfinished(*slot, same_boot) for slot in read if slot is not None)
    # A damaged header (None) must not hide the lines below it: each has a checksum of its own.
    corrupt = len(read) - len(requests) + (header is None)
    if corrupt:
        logger.error("journal file %s has %d lines that cannot be read", file.path.name, corrupt)
    return Abandoned(requests, corrupt, file)
