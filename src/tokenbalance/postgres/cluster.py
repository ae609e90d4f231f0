"""One Postgres cluster: created once, started, stopped. The caller owns the data folder.

The server is a child of this process, listens only on a Unix socket, and ends with this process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tokenbalance.postgres.account import (
    Account,
    give,
    initdb_account,
    is_root,
    open_file,
    server_account,
)
from tokenbalance.postgres.binaries import Binaries, reachable_binaries
from tokenbalance.postgres.connection import can_connect, ensure_database
from tokenbalance.postgres.errors import (
    DataFolderUnusable,
    EmbeddedPostgresError,
    ServerNotStarted,
)
from tokenbalance.postgres.remains import clear_remains
from tokenbalance.postgres.socket_folder import PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_START_S = 60.0
TIMEOUT_FAST_S = 30.0
TIMEOUT_IMMEDIATE_S = 10.0
TIMEOUT_INITDB_S = 120.0

_POLL_S = 0.02
_LOG_BYTES = 1 << 20
_NEW = "pgdata.new-"
_LAUNCHER = Path(__file__).with_name("launcher.py")

# On Linux a path through the working directory, which the launcher inherits from this process. It
# works below folders that the server's user may not enter (root's home, mode 0700), without any
# capability or change of permissions. Postgres never leaves its working directory.
_HERE = "/proc/self/cwd"

# For small machines. The log gets starts, stops and fatal errors, but never statements or rows,
# which may contain private data.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0600",
    "cluster_name": "tokenbalance",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "min_wal_size": "64MB",
    "max_wal_size": "256MB",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "jit": "off",
    # In the folder of the cluster: /dev/shm is tiny in containers and emptied when a user logs out.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# Otherwise Postgres 18 starts three processes for asynchronous reads.
_SINCE_18 = {"io_method": "sync"}


class Cluster:
    """The cluster in a data folder, and its server once it is started."""

    def __init__(self, folder: Path, binaries: Binaries, *, durable: bool) -> None:
        self._folder: Path = folder
        self._pgdata: Path = folder / "pgdata"
        self._log: Path = folder / "postgres.log"
        self._durable: bool = durable
        self.account: Account = server_account(folder)
        self._binaries: Binaries = (
            reachable_binaries(binaries, self.account.uid) if is_root() else binaries
        )
        self._server: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Create the cluster, or check that these programs can serve the existing one.

        Raises:
            DataFolderUnusable: it was created by another major version, or is not a cluster.
            ServerNotStarted: initdb failed.
        """
        for unfinished in self._folder.glob(f"{_NEW}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        if self._pgdata.exists():
            self._check_version()
        else:
            self._initialize()

    def start(self, socket_folder: Path) -> None:
        """Start the server and wait until it answers.

        Raises:
            DataFolderInUse: another server runs on the cluster.
            ServerNotStarted: it failed; the message has its last output.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel ties the life of the child to the thread that created it.
            msg = "the embedded Postgres must be started from the main thread"
            raise EmbeddedPostgresError(msg)
        clear_remains(self._pgdata)
        with self._open_log() as log:
            begin = log.tell()
            self._server = self._launch(self._server_command(socket_folder), self._pgdata, log)
        self._wait_until_ready(self._server, socket_folder, begin)

    def stop(self) -> None:
        """Stop the server: fast shutdown, then immediate, then SIGKILL."""
        server, self._server = self._server, None
        if server is None:
            return
        # A process that is stopped (SIGSTOP) could otherwise only be ended by SIGKILL.
        _signal_all([server.pid, *_children_of(server.pid)], signal.SIGCONT)
        for number, timeout_s in (
            (signal.SIGINT, TIMEOUT_FAST_S),
            (signal.SIGQUIT, TIMEOUT_IMMEDIATE_S),
            (signal.SIGKILL, None),
        ):
            left = _children_of(server.pid) if number is signal.SIGKILL else []
            server.send_signal(number)
            _signal_all(left, number)
            try:
                _ = server.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                continue
        if server.stdin is not None:
            server.stdin.close()

    def _check_version(self) -> None:
        try:
            created_by = (self._pgdata / "PG_VERSION").read_text().strip()
        except OSError as error:
            msg = f"{self._pgdata} is not a Postgres cluster, or not readable: {error.strerror}"
            raise DataFolderUnusable(msg) from error
        if created_by != str(self._binaries.major):
            msg = (
                f"{self._pgdata} was created by Postgres {created_by}, "
                f"but {self._binaries.folder} is Postgres {self._binaries.version}"
            )
            raise DataFolderUnusable(msg)

    def _initialize(self) -> None:
        """Create the cluster elsewhere and rename it, so that an existing one is complete."""
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._folder))
        account = initdb_account(self.account)
        try:
            give(new, account)
            self._run_initdb(new, account)
            give(new, self.account)
            _ = new.rename(self._pgdata)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _sync(self._folder)

    def _run_initdb(self, new: Path, account: Account) -> None:
        with tempfile.TemporaryFile() as output:
            initdb = self._launch(self._initdb_command(new), new, output, account)
            try:
                status = initdb.wait(TIMEOUT_INITDB_S)
            except BaseException:
                initdb.kill()
                _ = initdb.wait()
                raise
            finally:
                if initdb.stdin is not None:
                    initdb.stdin.close()
            _ = output.seek(0)
            if status != 0:
                msg = f"initdb failed: {_last_lines(output.read())}"
                raise ServerNotStarted(msg)

    def _initdb_command(self, new: Path) -> list[str]:
        return [
            str(self._binaries.folder / "initdb"),
            f"--pgdata={_path_of(new)}",
            "--username=postgres",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        ]

    def _server_command(self, socket_folder: Path) -> list[str]:
        settings = _SETTINGS | {"unix_socket_directories": f'"{socket_folder}"'}
        if self._binaries.major >= 18:  # noqa: PLR2004 - a version needs no name
            settings |= _SINCE_18
        if not self._durable:
            settings |= _NOT_DURABLE
        command = [str(self._binaries.folder / "postgres"), "-D", _path_of(self._pgdata)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _launch(
        self,
        command: Sequence[str],
        folder: Path,
        output: IO[bytes],
        account: Account | None = None,
    ) -> subprocess.Popen[bytes]:
        account = account or self.account
        shim = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        who = [str(os.getpid()), str(account.uid), str(account.gid)]
        return subprocess.Popen(  # noqa: S603 - no shell, and the programs were checked
            [*shim, *who, *command],
            cwd=folder,
            # None of our environment, such as the upstream key, is passed on.
            env={"PATH": os.defpath, "LC_ALL": "C"},
            # If the kernel does not signal our death to the child, the end of this pipe does.
            stdin=subprocess.DEVNULL if sys.platform == "linux" else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in our terminal is for us: the server stops after the last request has ended.
            start_new_session=True,
        )

    def _open_log(self) -> IO[bytes]:
        """Open the log for appending; a long one is renamed, so there are at most two."""
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES:
            _ = self._log.replace(self._log.with_suffix(".log.1"))
        return os.fdopen(open_file(self._log, os.O_WRONLY | os.O_APPEND), "ab")

    def _wait_until_ready(
        self, server: subprocess.Popen[bytes], socket_folder: Path, begin: int
    ) -> None:
        deadline = time.monotonic() + TIMEOUT_START_S
        while not can_connect(socket_folder, "postgres"):
            if server.poll() is not None:
                output = self._log.read_bytes()[begin:]
                msg = f"Postgres exited while starting: {_last_lines(output)} (log: {self._log})"
                raise ServerNotStarted(msg)
            if time.monotonic() > deadline:
                msg = f"Postgres is not ready after {TIMEOUT_START_S:.0f} s (log: {self._log})"
                raise ServerNotStarted(msg)
            time.sleep(_POLL_S)
        ensure_database(socket_folder)


def has_cluster(data_dir: Path) -> bool:
    """Whether a data folder contains a cluster; creates nothing."""
    return (data_dir / "pgdata").exists()


def _path_of(folder: Path) -> str:
    return _HERE if sys.platform == "linux" else str(folder)


def _last_lines(output: bytes, count: int = 3) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return " | ".join(lines[-count:]) or "no output"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _children_of(pid: int) -> list[int]:
    """List the child processes of a server; empty if the system does not provide them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in children.split()]


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
