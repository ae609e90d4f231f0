"""The interface of the embedded Postgres: start a server, or use the one that is running.

exclusive   for `serve`: owns the server until it exits, even if others still use it
otherwise   for a command: uses the server of a running owner and never stops it. If there is no
            owner, it owns the server while it runs, and waits for other commands before it stops it
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncpg

from tokenbalance.postgres.binaries import find_binaries
from tokenbalance.postgres.cluster import TIMEOUT_START_S, Cluster
from tokenbalance.postgres.connection import DATABASE, can_connect, dsn_of
from tokenbalance.postgres.errors import (
    DataFolderInUse,
    DataFolderUnusable,
    EmbeddedPostgresError,
)
from tokenbalance.postgres.ownership import Note, Ownership, Role
from tokenbalance.postgres.socket_folder import (
    clear_left_folder,
    private_folder,
    remove_folder,
)

if TYPE_CHECKING:
    from types import TracebackType

# How long `serve` waits for a command that happens to own the server.
TIMEOUT_COMMAND_S = 10.0
# How long a command that owns the server waits for the other commands that use it.
TIMEOUT_USERS_S = 60.0

_POLL_S = 0.05


class EmbeddedPostgres:
    """A running server on one data folder, of this process or of another one; a context manager."""

    def __init__(
        self, ownership: Ownership, folder: Path, cluster: Cluster | None, role: Role
    ) -> None:
        self._ownership: Ownership = ownership
        self._cluster: Cluster | None = cluster
        self._role: Role = role
        self._process: int = os.getpid()
        self._stopped: bool = False
        self.socket_folder: Path = folder
        """The host, for programs that do not take a DSN; the user is `postgres`."""

    @classmethod
    def start_or_attach(
        cls,
        data_dir: Path,
        pg_bin: Path | None = None,
        *,
        exclusive: bool = False,
        durable: bool = True,
    ) -> Self:
        """Use the server on a data folder; start it if it is not running.

        Blocks, up to a minute during crash recovery. Must be called from the main thread.

        Args:
            data_dir: the folder of the cluster, its log and the locks; created if necessary.
            pg_bin: the folder of `initdb` and `postgres`; None to search for it.
            exclusive: own the server or fail; for a process that stays.
            durable: if False, a kill may lose the last moments, and a power cut everything; for
                tests.

        Raises:
            EmbeddedPostgresError: the message is one complete line.
        """
        data_dir = _make_folder(data_dir)
        ownership = Ownership(data_dir)
        try:
            if exclusive:
                _acquire(ownership, data_dir)
            elif folder := _acquire_or_join(ownership, data_dir):
                return cls(ownership, folder, None, Role.COMMAND)
            role = Role.SERVE if exclusive else Role.COMMAND
            cluster = Cluster(data_dir, find_binaries(pg_bin), durable=durable)
            return cls._own(ownership, role, cluster)
        except (OSError, asyncpg.PostgresError) as error:
            ownership.close()
            msg = f"the embedded Postgres in {data_dir} failed: {error}"
            raise EmbeddedPostgresError(msg) from error
        except BaseException:
            ownership.close()
            raise

    @classmethod
    def _own(cls, ownership: Ownership, role: Role, cluster: Cluster) -> Self:
        previous = ownership.read()
        ownership.write(Note(os.getpid(), role))
        cluster.prepare()
        if previous and previous.socket_folder:
            clear_left_folder(Path(previous.socket_folder), cluster.account)
        folder = private_folder(cluster.account)
        ownership.write(Note(os.getpid(), role, str(folder)))
        try:
            cluster.start(folder)
        except BaseException:
            cluster.stop()
            remove_folder(folder)
            raise
        return cls(ownership, folder, cluster, role)

    @property
    def owned(self) -> bool:
        """Whether this process started the server, and will stop it."""
        return self._cluster is not None

    @property
    def dsn(self) -> str:
        """The DSN of our database, for asyncpg and SQLAlchemy."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """Build the DSN of any database on this server."""
        return dsn_of(self.socket_folder, database)

    def stop(self) -> None:
        """Stop the server if this process owns it, else only stop using it. May be called twice."""
        if self._stopped or os.getpid() != self._process:
            # A forked child has a copy of this object, not the server.
            return
        self._stopped = True
        try:
            if self._cluster is not None:
                self._stop_owned(self._cluster)
        finally:
            self._ownership.close()

    def _stop_owned(self, cluster: Cluster) -> None:
        folder = str(self.socket_folder)
        self._ownership.write(Note(os.getpid(), self._role, folder, leaving=True))
        try:
            if self._role is Role.COMMAND:
                self._wait_for_users()
        finally:
            cluster.stop()
            remove_folder(self.socket_folder)

    def _wait_for_users(self) -> None:
        deadline = time.monotonic() + TIMEOUT_USERS_S
        while not self._ownership.is_alone() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _make_folder(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return data_dir.resolve(strict=True)
    except OSError as error:
        msg = f"cannot create the data folder {data_dir}: {error.strerror}"
        raise DataFolderUnusable(msg) from error


def _acquire(ownership: Ownership, data_dir: Path) -> None:
    """Become the owner. Wait for a command to end, but not for another `serve`."""
    deadline = time.monotonic() + TIMEOUT_COMMAND_S
    while not ownership.acquire():
        note = ownership.read()
        stays = note is not None and note.role is Role.SERVE and not note.leaving
        if stays or time.monotonic() > deadline:
            msg = f"{data_dir} is already in use by {_owner(note)}"
            raise DataFolderInUse(msg)
        time.sleep(_POLL_S)


def _acquire_or_join(ownership: Ownership, data_dir: Path) -> Path | None:
    """Become the owner and return None, or return the socket folder of the owner's server."""
    deadline = time.monotonic() + TIMEOUT_START_S
    while not ownership.acquire():
        if (folder := _join(ownership)) is not None:
            return folder
        if time.monotonic() > deadline:
            owner = _owner(ownership.read())
            msg = f"{data_dir} is in use by {owner}, but no server became ready"
            raise DataFolderInUse(msg)
        time.sleep(_POLL_S)
    return None


def _join(ownership: Ownership) -> Path | None:
    """Use the owner's server if it is up and not about to stop."""
    if not ownership.join():
        return None
    note = ownership.read()
    if note and note.socket_folder and not note.leaving and can_connect(Path(note.socket_folder)):
        return Path(note.socket_folder)
    ownership.leave()
    return None


def _owner(note: Note | None) -> str:
    return f"`{note.role.value}` (pid {note.pid})" if note else "another process"
