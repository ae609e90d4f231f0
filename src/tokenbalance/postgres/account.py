"""Who the server runs as: this process's user, or, as root, an unprivileged one.

Postgres refuses to run as root. This file only chooses; the launcher changes the user.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.postgres.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from pathlib import Path

# Nobody's own number: `nobody` is shared with other daemons, who could then open the socket.
# Below 60000, so that a container with 65536 mapped users has it and no system range claims it.
SERVER_UID = 59_432


@dataclass(frozen=True, slots=True)
class Account:
    """A user and its group, as numbers."""

    uid: int
    gid: int


def is_root() -> bool:
    """Tell whether this process may, and for Postgres must, become somebody else."""
    return os.geteuid() == 0


def server_account(folder: Path) -> Account:
    """Choose the user of the server on a data folder.

    Root serves a folder that belongs to a plain user as that user, so that the user can go on
    with it afterwards.
    """
    if not is_root():
        return Account(os.geteuid(), os.getegid())
    for path in (folder / "pgdata", folder):
        if path.exists() and (owner := path.stat().st_uid) != 0:
            return _account_of(owner)
    return _account_of(SERVER_UID)


def initdb_account(account: Account) -> Account:
    """Choose the user of initdb, which wants a name in the user database; the server does not.

    Raises:
        EmbeddedPostgresError: root finds no unprivileged user to borrow a name from.
    """
    if not is_root() or _is_named(account.uid):
        return account
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        msg = "initdb cannot run as root, and there is no user `nobody` to run it as"
        raise EmbeddedPostgresError(msg) from error
    return Account(nobody.pw_uid, nobody.pw_gid)


def give(path: Path, account: Account) -> None:
    """Make a file, or a folder with all that is in it, the account's. Only root needs to."""
    if not is_root():
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(
                os.path.join(parent, name),  # noqa: PTH118 - a thousand Paths for nothing
                account.uid,
                account.gid,
                follow_symlinks=False,
            )


def open_file(path: Path, flags: int) -> int:
    """Open a file of a data folder, making it if needed, for its owner only.

    What root makes in a plain user's folder is the user's. What lies there is never given away,
    and no link is followed: the user may have put it there.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags | os.O_NOFOLLOW)
    if is_root():
        status = path.parent.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)
    return descriptor


def _account_of(uid: int) -> Account:
    try:
        return Account(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        return Account(uid, uid)


def _is_named(uid: int) -> bool:
    try:
        _ = pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
