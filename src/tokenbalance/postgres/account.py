"""The user that the server runs as: that of this process or, under root, an unprivileged one.

Postgres refuses to run as root. This file only chooses the user; the launcher switches to it.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.postgres.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from pathlib import Path

# Not `nobody`: other daemons share that user and could then open the socket. Below 60000, so that
# it exists in a container with 65536 mapped users and is in no range reserved by systems.
SERVER_UID = 59_432


@dataclass(frozen=True, slots=True)
class Account:
    """A user and its group, as numbers."""

    uid: int
    gid: int


def is_root() -> bool:
    """Whether this process may, and for Postgres must, switch to another user."""
    return os.geteuid() == 0


def server_account(folder: Path) -> Account:
    """Choose the user of the server on a data folder.

    If a plain user owns the folder, root runs the server as that user, who can then go on using it.
    """
    if not is_root():
        return Account(os.geteuid(), os.getegid())
    for path in (folder / "pgdata", folder):
        if path.exists() and (owner := path.stat().st_uid) != 0:
            return _account_of(owner)
    return _account_of(SERVER_UID)


def initdb_account(account: Account) -> Account:
    """Choose the user of initdb, which needs an entry in the user database; the server does not.

    Raises:
        EmbeddedPostgresError: there is no unprivileged user that root could use instead.
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
    """Change the owner of a file, or of a folder and its contents, to the account; only as root."""
    if not is_root():
        return
    os.chown(path, account.uid, account.gid, follow_symlinks=False)
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(
                os.path.join(parent, name),  # noqa: PTH118 - a thousand Path objects for nothing
                account.uid,
                account.gid,
                follow_symlinks=False,
            )


def open_file(path: Path, flags: int) -> int:
    """Open a file of a data folder, readable by its owner only; create it if necessary.

    A file that root creates in the folder of a plain user belongs to that user. The owner of an
    existing file is never changed, and no link is followed: the user may have put it there.
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
