"""The private folder of the server's socket: short, ours, closed to everybody else.

The data folder is no place for it: a socket's path has room for about a hundred bytes.
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
    """Make a folder whose name cannot be foreseen, so that nobody can have made it before us.

    Raises:
        ServerNotStarted: there is no place for it.
    """
    for base in _bases():
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        except OSError:
            continue
        if is_root():
            os.chown(folder, account.uid, account.gid)
        return folder
    msg = "no temporary folder with a short path can be written to (a socket needs one)"
    raise ServerNotStarted(msg)


def clear_left_folder(folder: Path, account: Account) -> None:
    """Take away what a killed owner left; used again, its lock file could name a living stranger.

    Only a folder that is still ours: after a restart of the machine the name may be anybody's.
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
    """Take the folder away after the server has stopped."""
    shutil.rmtree(folder, ignore_errors=True)


def _bases() -> list[Path]:
    """List where to put it, best first: not world-writable before world-writable."""
    # Not XDG_RUNTIME_DIR: it goes when the user logs out, and the server may stay.
    temporary = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - mkdtemp, mode 0700
    bases = [Path("/run"), *temporary] if is_root() else temporary
    longest = f"/{_PREFIX}12345678/.s.PGSQL.{PORT}.lock"
    return [base for base in bases if len(os.fsencode(base)) + len(longest) <= _PATH_BYTES]
