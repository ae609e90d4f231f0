"""Which process may start and stop the server on a data folder: two kernel locks and a note.

    owner.lock   held exclusively by the owner for life. The kernel releases it however the owner
                 dies, so only the lock decides who owns the server. The note inside says who that
                 is, in which role, and where the socket is.
    users.lock   shared by every command that uses the server of another process. An owner that is
                 itself a short command waits for it before it stops the server.

An owner that stops first marks the note as leaving, then waits for the users. A command first joins
the users, then reads the note. So a command either keeps the server, or sees that it is stopping.
"""

from __future__ import annotations

import enum
import fcntl
import json
import os
import weakref
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from tokenbalance.postgres.account import open_file
from tokenbalance.postgres.errors import DataFolderUnusable

if TYPE_CHECKING:
    from pathlib import Path

_NOTE_BYTES = 4096


class Role(enum.Enum):
    """How long an owner stays."""

    SERVE = "serve"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Note:
    """The owner's note about itself. A killed owner leaves it behind."""

    pid: int
    role: Role
    socket_folder: str | None = None
    leaving: bool = False


class Ownership:
    """The locks of one process on a data folder."""

    def __init__(self, folder: Path) -> None:
        self._owner: int = _open_lock(folder / "owner.lock")
        try:
            self._users: int = _open_lock(folder / "users.lock")
        except BaseException:
            os.close(self._owner)
            raise
        os.register_at_fork(after_in_child=partial(_leave_to_parent, weakref.ref(self)))

    def acquire(self) -> bool:
        """Become the owner; False if another process is."""
        return _lock(self._owner, fcntl.LOCK_EX)

    def join(self) -> bool:
        """Become one of the users; False if the owner is already stopping the server."""
        return _lock(self._users, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Stop being one of the users."""
        fcntl.flock(self._users, fcntl.LOCK_UN)

    def is_alone(self) -> bool:
        """For the owner: whether nobody else uses its server; from then on nobody can."""
        return _lock(self._users, fcntl.LOCK_EX)

    def write(self, note: Note) -> None:
        """Write the note; only the owner may."""
        text = json.dumps(asdict(note) | {"role": note.role.value}).encode()
        # Padded and written at once, so that no reader sees half of it over an older one.
        _ = os.pwrite(self._owner, text.ljust(_NOTE_BYTES), 0)

    def read(self) -> Note | None:
        """Read the note of the current or the previous owner; None if there is no valid one."""
        try:
            document = cast("object", json.loads(os.pread(self._owner, _NOTE_BYTES, 0)))
        except ValueError:
            return None
        match document:
            case {
                "pid": int(pid),
                "role": str(role),
                "socket_folder": str() | None as socket_folder,
                "leaving": bool(leaving),
            }:
                return Note(pid, Role(role), socket_folder, leaving)
            case _:
                return None

    def close(self) -> None:
        """Release both locks; harmless if they are released."""
        owner, users, self._owner, self._users = self._owner, self._users, -1, -1
        if owner >= 0:
            os.close(owner)
            os.close(users)


def _leave_to_parent(ownership: weakref.ref[Ownership]) -> None:
    """In a copy of the process: the locks are not its own, and must not outlive their owner."""
    locks = ownership()
    if locks is not None:
        locks.close()


def _open_lock(path: Path) -> int:
    try:
        # The descriptor is not inherited: a lock must not live on in a child.
        return open_file(path, os.O_RDWR)
    except OSError as error:
        msg = f"cannot open {path}: {error.strerror}"
        raise DataFolderUnusable(msg) from error


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
