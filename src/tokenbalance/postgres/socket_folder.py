"""The private folder of the server's socket: a short path, closed to everybody else.

The socket cannot be in the data folder: its path is limited to about a hundred bytes.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from tokenbalance.postgres.account import Account, is_root
from tokenbalance.postgres.errors import ServerNotStarted

PORT = 5432
# sockaddr_un.sun_path with its final zero: 108 bytes on Linux, 104 on macOS and the BSDs.
_PATH_BYTES = 103

_PREFIX = "tokenbalance-"


def private_folder(account: Account) -> Path:
    """Create a folder with an unpredictable name, so that nobody can have created it before.

    Raises:
        ServerNotStarted: there is no usable place for it.
    """
    for base in _bases():
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        except OSError:
            continue
        if is_root():
            os.chown(folder, account.uid, account.gid)
        return folder
    msg = "no writable temporary folder has a path short enough for a socket"
    raise ServerNotStarted(msg)


def clear_left_folder(folder: Path, account: Account) -> None:
    """Remove the folder of a killed owner; its lock file could name the pid of another program.

    Only if the folder is still ours: after a reboot its name may belong to anybody.
    """
    if _is_private(folder, account):
        remove_folder(folder)


def _is_private(folder: Path, account: Account) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        folder.name.startswith(_PREFIX)
        and stat.S_ISDIR(status.st_mode)
        and status.st_uid == account.uid
        and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
    )


def remove_folder(folder: Path) -> None:
    """Remove the folder after the server has stopped."""
    shutil.rmtree(folder, ignore_errors=True)


def _bases() -> list[Path]:
    """List the folders where it may be created: those that are not world-writable first."""
    # Not XDG_RUNTIME_DIR: it is removed when the user logs out, and the server may stay.
    temporary = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - mkdtemp, mode 0700
    bases = [Path("/run"), *temporary] if is_root() else temporary
    longest = f"/{_PREFIX}12345678/.s.PGSQL.{PORT}.lock"
    return [base for base in bases if len(os.fsencode(base)) + len(longest) <= _PATH_BYTES]
