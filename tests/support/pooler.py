"""PgBouncer in transaction mode, in front of a test's Postgres."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tokenbalance.postgres.socket_folder import PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tokenbalance.postgres import EmbeddedPostgres

SERVERS = 10
"""Sessions with the server, which all clients of a database share."""
_START_S = 10.0


def find_pooler() -> str | None:
    """The program, if this machine has it."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooling(program: str, cluster: EmbeddedPostgres) -> Generator[Callable[[str], str]]:
    """Run PgBouncer; yields what turns the DSN of a database into one that leads through it."""
    owner = cluster.socket_folder.stat().st_uid
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not below a folder of pytest's: those are closed to everybody else.
    folder = Path(tempfile.mkdtemp(prefix="pooler-"))
    folder.chmod(0o755)
    (folder / "users").write_text('"postgres" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"""[databases]
* = host={cluster.socket_folder} port={PORT} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = 1000
"""
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-q", str(config)],
            stdout=log,
            stderr=log,
            # It refuses to be root.
            user=owner if os.geteuid() == 0 else None,
        )
    try:
        _wait_for(port, process)
        yield lambda dsn: f"postgresql://postgres@127.0.0.1:{port}{urlsplit(dsn).path}"
    finally:
        process.terminate()
        process.wait(_START_S)
        shutil.rmtree(folder)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > ends:
                raise
            time.sleep(0.02)
        else:
            return
