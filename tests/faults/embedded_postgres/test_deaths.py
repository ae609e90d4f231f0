"""Everything that kills the server or its owner, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.embedded import (
    DEADLINE_S,
    Process,
    fetch,
    linux,
    owner_of,
    postgres_processes,
    postmaster,
    wait_until,
)
from tokenbalance.postgres import (
    DataFolderInUse,
    EmbeddedPostgres,
)
from tokenbalance.postgres.connection import can_connect
from tokenbalance.postgres.remains import clear_remains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@linux
async def test_data_survives_the_death_of_everything(
    data: Path, start: Callable[..., Process]
) -> None:
    serve = start(data, "serve", "durable")
    _, dsn = serve.ready()
    _ = await fetch(dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    everything = [serve.popen.pid, *postgres_processes(data)]
    # Stopped first, so that none of them sees another die and tidies up.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in everything:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
    _ = serve.popen.wait(DEADLINE_S)
    assert (data / "pgdata" / "postmaster.pid").exists()
    with EmbeddedPostgres.start_or_attach(data, exclusive=True, durable=False) as server:
        assert await fetch(server.dsn, "SELECT n FROM kept") == 7


@linux
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_no_postgres_outlives_its_owner(
    data: Path, start: Callable[..., Process], end: signal.Signals
) -> None:
    serve = start(data, "serve")
    _ = serve.ready()
    assert len(postgres_processes(data)) > 1
    serve.popen.send_signal(end)
    _ = serve.popen.wait(DEADLINE_S)
    wait_until(lambda: not postgres_processes(data), "no postgres process is left")


@linux
def test_a_frozen_server_is_stopped_all_the_same(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False):
        frozen = postgres_processes(data)
        assert len(frozen) > 1
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
    wait_until(lambda: not postgres_processes(data), "no postgres process is left")


@linux
def test_a_new_owner_starts_at_once_after_the_old_one_was_killed(
    data: Path, start: Callable[..., Process]
) -> None:
    serve = start(data, "serve")
    assert serve.ready()[0]
    serve.kill()
    assert start(data, "serve").ready()[0]


@linux
def test_the_owner_killed_in_the_middle_of_initdb_leaves_nothing_that_matters(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    serve = start(tmp_path, "serve")
    wait_until(lambda: [*tmp_path.glob("pgdata.new-*/base/1/*")], "initdb is at work")
    serve.kill()
    assert not (tmp_path / "pgdata").exists()
    wait_until(lambda: not postgres_processes(tmp_path), "initdb ended with its owner")
    assert [*tmp_path.glob("pgdata.new-*")], "initdb was to be cut off, not to clean up"
    with EmbeddedPostgres.start_or_attach(tmp_path, durable=False) as server:
        assert can_connect(server.socket_folder)
    assert not [*tmp_path.glob("pgdata.new-*")]


@pytest.fixture
def stranger(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has nothing to do with us, of the server's user: Postgres takes it for one."""
    user = owner_of(data / "pgdata") if os.geteuid() == 0 else None
    with subprocess.Popen(["/bin/sleep", "60"], user=user) as process:
        yield process
        process.kill()


@linux
async def test_a_pid_file_that_names_a_living_stranger_is_removed(
    data: Path, stranger: subprocess.Popen[bytes]
) -> None:
    lines = (str(stranger.pid), str(data), "1", "5432", "/tmp", "", "1 1", "ready")  # noqa: S108 - only a line of a pid file
    _ = (data / "pgdata" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
        assert postmaster(data) != stranger.pid
    assert stranger.poll() is None


@linux
def test_a_pid_file_of_a_running_server_is_respected(
    data: Path, start: Callable[..., Process]
) -> None:
    serve = start(data, "serve")
    _ = serve.ready()
    with pytest.raises(DataFolderInUse, match=f"pid {postmaster(data)}"):
        clear_remains(data / "pgdata", timeout_s=0.2)
    assert (data / "pgdata" / "postmaster.pid").exists()


@pytest.mark.parametrize("content", ["", "not a number\n", "1\n"])
@linux
def test_a_pid_file_cut_short_is_removed(tmp_path: Path, content: str) -> None:
    _ = (tmp_path / "postmaster.pid").write_text(content)
    clear_remains(tmp_path, timeout_s=0.2)
    assert not (tmp_path / "postmaster.pid").exists()
