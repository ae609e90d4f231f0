"""Who may start and stop the server on a data folder: two kernel locks and a note.

    owner.lock   held exclusively by the owner for life. The kernel frees it at any death, so it
                 alone is the truth; the note inside only says who, why, and where the socket is.
    users.lock   shared by every command that uses a server of somebody else. An owner that is
                 itself a short command waits for it before it stops the server.

A leaving owner first writes so into the note, then waits for the users. A command first joins the
users, then reads the note. So a command either keeps the server, or sees that it goes.
"""

from __future__ import annotations

import enum
import fcntl
import json
import os
from dataclasses import asdict, dataclass
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
    """What the owner says of itself. Left behind by an owner that was killed."""

    pid: int
    role: Role
    socket_folder: str | None = None
    leaving: bool = False


class Ownership:
    """The place of a process among those that use one data folder."""

    def __init__(self, folder: Path) -> None:
        self._owner: int = _open_lock(folder / "owner.lock")
        try:
            self._users: int = _open_lock(folder / "users.lock")
        except BaseException:
            os.close(self._owner)
            raise

    def acquire(self) -> bool:
        """Become the owner, if there is none now."""
        return _lock(self._owner, fcntl.LOCK_EX)

    def join(self) -> bool:
        """Be counted among the users; False while an owner is already stopping the server."""
        return _lock(self._users, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Be no user any more."""
        fcntl.flock(self._users, fcntl.LOCK_UN)

    def is_alone(self) -> bool:
        """Tell an owner that nobody else uses its server, and that nobody will."""
        return _lock(self._users, fcntl.LOCK_EX)

    def write(self, note: Note) -> None:
        """Say who owns the folder. Only the owner does."""
        text = json.dumps(asdict(note) | {"role": note.role.value}).encode()
        # Padded and written at once, so that no reader meets half a note over an older one.
        _ = os.pwrite(self._owner, text.ljust(_NOTE_BYTES), 0)

    def read(self) -> Note | None:
        """Read what the owner, or the one before, wrote; None while there is nothing to read."""
        try:
            said = cast("object", json.loads(os.pread(self._owner, _NOTE_BYTES, 0)))
        except ValueError:
            return None
        match said:
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
        """Give up both locks."""
        os.close(self._owner)
        os.close(self._users)


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
