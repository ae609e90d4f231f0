"""The embedded Postgres under everything that kills, blocks or misleads it. Real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.postgres import clone, drop, make_template, start_cluster
from tokenbalance.postgres import (
    BinariesNotFound,
    DataFolderInUse,
    DataFolderUnusable,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    ServerNotStarted,
)
from tokenbalance.postgres.account import SERVER_UID, Account, give, server_account
from tokenbalance.postgres.binaries import (
    WHEEL,
    Binaries,
    find_binaries,
    reachable_binaries,
)
from tokenbalance.postgres.connection import can_connect
from tokenbalance.postgres.ownership import Note, Ownership, Role
from tokenbalance.postgres.remains import clear_remains
from tokenbalance.postgres.socket_folder import clear_left_folder, private_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which takes root")

DEADLINE_S = 20.0
SOURCE = str(Path(__file__).parents[2] / "src")
# What a plain interpreter needs to be as good as ours.
PACKAGES = os.pathsep.join((SOURCE, str(Path(asyncpg.__file__).parents[1])))

# Another process with the server in it: says `owned dsn`, then waits to be told to stop.
PROCESS = """
import sys
from pathlib import Path
from tokenbalance.postgres import EmbeddedPostgres, EmbeddedPostgresError
try:
    server = EmbeddedPostgres.start_or_attach(
        Path(sys.argv[1]), exclusive=sys.argv[2] == "serve", durable="durable" in sys.argv)
except EmbeddedPostgresError as error:
    sys.exit(str(error))
with server:
    print(server.owned, server.dsn, flush=True)
    sys.stdin.read()
"""


@dataclass
class Process:
    """`serve` or a command on a data folder, as a process of its own."""

    popen: subprocess.Popen[str]

    def ready(self) -> tuple[bool, str]:
        """Wait for the server: whether this process owns it, and its DSN."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            pytest.fail(f"the process ended: {self.popen.communicate()[1]}")
        owned, dsn = line.split()
        return owned == "True", dsn

    def tell_to_stop(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def stop(self) -> None:
        self.tell_to_stop()
        assert self.popen.wait(DEADLINE_S) == 0

    def end(self) -> None:
        """Stop, if it still runs, whatever has become of it."""
        self.tell_to_stop()
        try:
            _ = self.popen.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.popen.kill()
        _ = self.popen.wait(DEADLINE_S)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start processes, and let none of them outlive the test."""
    with contextlib.ExitStack() as processes:

        def start_process(
            folder: Path, role: str, *more: str, user: int | None = None, **environment: str
        ) -> Process:
            popen = subprocess.Popen(
                [
                    sys.executable if user is None else python_for(user),
                    "-c",
                    PROCESS,
                    str(folder),
                    role,
                    *more,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                env=os.environ | {"PYTHONPATH": PACKAGES} | environment,
            )
            _ = processes.enter_context(popen)
            process = Process(popen)
            _ = processes.callback(process.end)
            return process

        yield start_process


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a cluster, made once: the tests may kill its server, not damage it."""
    folder = tmp_path_factory.mktemp("made")
    start_cluster(folder).stop()
    yield folder / "postgres"
    # Takes away what the last killed server left.
    start_cluster(folder).stop()


@pytest.fixture
def data(made: Path, start: Callable[..., Process]) -> Path:
    """The shared data folder; `start` is named so that its processes end before the next test."""
    _ = start
    return made


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy of the data folder, for damaging."""
    folder = tmp_path / "copied"
    _ = shutil.copytree(made, folder)
    give(folder / "pgdata", server_account(made))
    return folder


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {DEADLINE_S} s: {what}")
        time.sleep(0.02)


def postgres_processes(folder: Path) -> list[int]:
    """Everything that runs inside the cluster, postmaster or not."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def owner_of(path: Path) -> int:
    return path.stat().st_uid


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def postmaster(folder: Path) -> int:
    return int((folder / "pgdata" / "postmaster.pid").read_text().split()[0])


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


# --- Death


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
    lines = (str(stranger.pid), str(data), "1", "5432", "/tmp", "", "1 1", "ready")  # noqa: S108
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


# --- Sharing


def test_a_second_serve_is_refused_in_one_line(data: Path, start: Callable[..., Process]) -> None:
    first = start(data, "serve")
    _ = first.ready()
    second = start(data, "serve")
    _, said = second.popen.communicate(timeout=DEADLINE_S)
    assert second.popen.returncode == 1
    assert said == f"{data} is already in use by `serve` (pid {first.popen.pid})\n"
    assert first.popen.poll() is None


async def test_a_command_beside_serve_uses_its_server_and_leaves_it_running(
    data: Path, start: Callable[..., Process]
) -> None:
    _, dsn = start(data, "serve").ready()
    with EmbeddedPostgres.start_or_attach(data) as server:
        assert not server.owned
        assert server.dsn == dsn
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert await fetch(dsn, "SELECT 1") == 1


def test_a_command_waits_for_a_serve_that_is_still_starting(
    tmp_path: Path, start: Callable[..., Process]
) -> None:
    serve = start(tmp_path, "serve")
    wait_until((tmp_path / "owner.lock").exists, "serve has begun")
    wait_until(lambda: [*tmp_path.glob("pgdata.new-*")], "initdb is at work")
    with EmbeddedPostgres.start_or_attach(tmp_path) as server:
        assert not server.owned
    assert serve.ready()[0]


def test_a_command_that_owns_the_server_stops_it_at_its_end(data: Path) -> None:
    server = EmbeddedPostgres.start_or_attach(data, durable=False)
    assert server.owned
    server.stop()
    server.stop()
    assert not server.socket_folder.exists()
    assert not (data / "pgdata" / "postmaster.pid").exists()


async def test_the_first_command_stops_the_server_only_after_the_second_has_ended(
    data: Path, start: Callable[..., Process]
) -> None:
    first = start(data, "command")
    assert first.ready()[0]
    second = start(data, "command")
    owned, dsn = second.ready()
    assert not owned
    first.tell_to_stop()
    ownership = Ownership(data)
    wait_until(lambda: (note := ownership.read()) and note.leaving, "the first command leaves")
    ownership.close()
    assert await fetch(dsn, "SELECT 1") == 1
    second.stop()
    assert first.popen.wait(DEADLINE_S) == 0


def test_serve_waits_for_a_command_instead_of_failing(
    data: Path, start: Callable[..., Process]
) -> None:
    command = start(data, "command")
    assert command.ready()[0]
    serve = start(data, "serve")
    command.stop()
    assert serve.ready()[0]


def test_serve_stops_its_server_whoever_uses_it(data: Path, start: Callable[..., Process]) -> None:
    serve = start(data, "serve")
    _ = serve.ready()
    with EmbeddedPostgres.start_or_attach(data) as server:
        serve.stop()
        assert not can_connect(server.socket_folder)


def test_a_command_does_not_join_a_server_that_is_about_to_stop(tmp_path: Path) -> None:
    leaving, coming = Ownership(tmp_path), Ownership(tmp_path)
    assert leaving.acquire()
    assert coming.join()
    leaving.write(Note(os.getpid(), Role.COMMAND, "/nowhere", leaving=True))
    assert not leaving.is_alone()
    note = coming.read()
    assert note is not None
    assert note.leaving
    coming.leave()
    assert leaving.is_alone()
    assert not coming.join()
    leaving.close()
    assert coming.acquire()
    coming.close()


# --- Closed to others


@linux
def test_nothing_listens_on_tcp(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        mine = {
            link.readlink().name
            for process in postgres_processes(data)
            for link in Path(f"/proc/{process}/fd").iterdir()
        }
        listening = {
            f"socket:[{line.split()[9]}]"
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        }
        assert any(name.startswith("socket:") for name in mine)
        assert not mine & listening
        assert mode_of(server.socket_folder) == 0o700
        assert mode_of(server.socket_folder / ".s.PGSQL.5432") == 0o600


@linux
def test_the_server_knows_none_of_our_secrets(data: Path, start: Callable[..., Process]) -> None:
    secret = "sk-of-the-operator"
    _ = start(data, "serve", OPENAI_API_KEY=secret).ready()
    for process in postgres_processes(data):
        assert secret.encode() not in Path(f"/proc/{process}/environ").read_bytes()


def test_a_left_socket_folder_is_removed_only_while_it_is_still_ours(tmp_path: Path) -> None:
    me = Account(os.geteuid(), os.getegid())
    folder = private_folder(me)
    link = tmp_path / "tokenbalance-link"
    link.symlink_to(folder)
    clear_left_folder(link, me)
    clear_left_folder(folder, Account(me.uid + 1, me.gid))
    folder.chmod(0o777)
    clear_left_folder(folder, me)
    assert folder.is_dir()
    assert link.is_symlink()
    folder.chmod(0o700)
    clear_left_folder(folder, me)
    assert not folder.exists()


def test_a_killed_owner_leaves_no_socket_folders_behind(
    data: Path, start: Callable[..., Process]
) -> None:
    serve = start(data, "serve")
    _, dsn = serve.ready()
    left = Path(dsn.partition("?host=")[2].partition("&")[0])
    serve.kill()
    assert left.is_dir()
    EmbeddedPostgres.start_or_attach(data, durable=False).stop()
    assert not left.exists()


async def test_what_a_statement_says_stays_out_of_the_log(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        with pytest.raises(asyncpg.PostgresError):
            _ = await fetch(server.dsn, "SELECT 'secret words'::int")
        assert "secret" not in (data / "postgres.log").read_text()


def test_the_log_does_not_grow_for_ever(data: Path) -> None:
    log = data / "postgres.log"
    _ = log.write_bytes(b"x" * (1 << 20) + b"y")
    EmbeddedPostgres.start_or_attach(data, durable=False).stop()
    assert log.stat().st_size < 10_000
    assert (data / "postgres.log.1").stat().st_size == (1 << 20) + 1


# --- Places and users


@pytest.fixture
def home() -> Iterator[Path]:
    """A home like root's, closed to everybody else, outside pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="home of "))
    yield folder
    shutil.rmtree(folder)


@linux
async def test_a_long_path_with_spaces_below_a_closed_home_works(home: Path) -> None:
    folder = home / "with a space" / ("long " * 30)
    assert len(str(folder)) > 150
    with EmbeddedPostgres.start_or_attach(folder, durable=False) as server:
        assert await fetch(server.dsn, "SELECT current_database()") == "tokenbalance"
        user = SERVER_UID if os.geteuid() == 0 else os.geteuid()
        assert owner_of(Path(f"/proc/{postmaster(folder)}")) == user
    assert mode_of(home) == 0o700
    assert mode_of(folder) == 0o700


def python_for(user: int) -> str:
    """An interpreter that a plain user can run, with our packages; root's may lie in its home."""
    for python in (sys.executable, *sorted(str(p) for p in Path("/usr/bin").glob("python3*"))):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _ = subprocess.run(
                [python, "-c", "import asyncpg, tokenbalance"],
                user=user,
                group=user,
                env={"PYTHONPATH": PACKAGES},
                check=True,
                capture_output=True,
                timeout=DEADLINE_S,
            )
            return python
    pytest.skip("no Python of this version outside root's closed home, so no plain user can run it")


@as_root
@linux
def test_a_plain_user_serves_and_root_joins_and_takes_over(
    home: Path, start: Callable[..., Process]
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(home, nobody, nobody)
    serve = start(home / "data", "serve", user=nobody, HOME=str(home))
    owned, dsn = serve.ready()
    assert owned
    assert owner_of(Path(f"/proc/{postmaster(home / 'data')}")) == nobody
    beside = start(home / "data", "command")
    assert beside.ready() == (False, dsn)
    beside.stop()
    serve.stop()
    # Root makes nothing that would lock the user out afterwards.
    command = start(home / "data", "command")
    assert command.ready()[0]
    command.stop()
    serve = start(home / "data", "serve", user=nobody, HOME=str(home))
    assert serve.ready()[0]
    serve.stop()


@pytest.fixture
def closed(home: Path) -> Iterator[Binaries]:
    """The wheel's programs, installed below a closed home."""
    binaries = find_binaries()
    if binaries.wheel is None:
        pytest.skip("the programs are not those of the wheel")
    for name in (WHEEL, f"{WHEEL}.libs"):
        _ = shutil.copytree(
            binaries.wheel.parent.parent / name,
            home / name,
            ignore=shutil.ignore_patterns("include", "pginstall", "__pycache__"),
            symlinks=True,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(home), *sys.path])
        yield find_binaries()


@pytest.fixture
def cache() -> Iterator[Path]:
    """A folder that everybody can pass, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "programs"


@as_root
async def test_programs_in_a_closed_home_are_copied_to_where_the_server_can_run_them(
    home: Path, data: Path, closed: Binaries, cache: Path
) -> None:
    assert closed.folder.is_relative_to(home)
    programs = reachable_binaries(closed, SERVER_UID, cache)
    assert programs.folder.is_relative_to(cache)
    assert reachable_binaries(closed, SERVER_UID, cache) == programs
    assert len(os.listdir(cache)) == 1, "one copy, and nothing half-made"  # noqa: PTH208
    with EmbeddedPostgres.start_or_attach(data, programs.folder, durable=False) as server:
        assert await fetch(server.dsn, "SELECT 1") == 1
    assert mode_of(home) == 0o700


def test_the_wheels_own_code_never_runs() -> None:
    code = (
        "import sys; from tokenbalance.postgres.binaries import find_binaries as find;"
        f"assert find().wheel; sys.exit(any(name.startswith('{WHEEL}') for name in sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": SOURCE}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


# --- Use


async def test_asyncpg_and_sqlalchemy_read_the_address_whatever_the_environment_says(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGPORT": "1",
        "PGHOST": "nowhere",
        "PGUSER": "x",
        "PGDATABASE": "x",
    }.items():
        monkeypatch.setenv(name, value)
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        query = "SELECT current_user || ' ' || current_database() || ' ' || lower('Ä')"
        assert await fetch(server.dsn, query) == "postgres tokenbalance ä"
        engine = create_async_engine(re.sub("^postgresql", "postgresql+asyncpg", server.dsn))
        async with engine.connect() as connection:
            assert await connection.scalar(text(query)) == "postgres tokenbalance ä"
        await engine.dispose()


async def test_a_missing_database_is_made_again(data: Path) -> None:
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        _ = await fetch(server.dsn_of("postgres"), "DROP DATABASE tokenbalance")
    with EmbeddedPostgres.start_or_attach(data, durable=False) as server:
        assert await fetch(server.dsn, "SELECT current_database()") == "tokenbalance"


async def test_writes_are_durable_unless_told_otherwise(data: Path) -> None:
    for durable, setting in ((True, "on"), (False, "off")):
        with EmbeddedPostgres.start_or_attach(data, durable=durable) as server:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert await fetch(server.dsn, f"SHOW {name}") == setting


async def test_a_cloned_database_is_the_templates_equal_and_its_own(data: Path) -> None:
    def migrate(dsn: str) -> None:
        _ = asyncio.run(fetch(dsn, "CREATE TABLE here AS SELECT 1 AS n"))

    with start_cluster(data.parent) as cluster:
        template = await make_template(cluster, migrate)
        first, second = await clone(cluster, template), await clone(cluster, template)
        _ = await fetch(first, "UPDATE here SET n = 2")
        assert await fetch(first, "SELECT n FROM here") == 2
        assert await fetch(second, "SELECT n FROM here") == 1
        await drop(cluster, first)
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            _ = await fetch(first, "SELECT 1")


# --- Refusals, each in one line


def refusal(kind: type[EmbeddedPostgresError], folder: Path, pg_bin: Path | None = None) -> str:
    with pytest.raises(kind) as refused:
        EmbeddedPostgres.start_or_attach(folder, pg_bin, durable=False).stop()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_of_another_major_version_is_refused(copied: Path) -> None:
    _ = (copied / "pgdata" / "PG_VERSION").write_text("12\n")
    assert "was created by Postgres 12, but" in refusal(DataFolderUnusable, copied)


def test_a_folder_that_is_no_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pgdata").mkdir()
    assert "not a Postgres cluster" in refusal(DataFolderUnusable, tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    _ = (tmp_path / "file").write_text("")
    assert "cannot create the data folder" in refusal(DataFolderUnusable, tmp_path / "file")


def test_a_server_that_ends_while_starting_says_why_and_leaves_the_folder_free(
    copied: Path,
) -> None:
    configuration = copied / "pgdata" / "postgresql.conf"
    working = configuration.read_text()
    _ = configuration.write_text("no_such_setting = 1\n")
    assert "no_such_setting" in refusal(ServerNotStarted, copied)
    _ = configuration.write_text(working)
    EmbeddedPostgres.start_or_attach(copied, exclusive=True, durable=False).stop()


def test_a_folder_without_the_programs_is_refused(tmp_path: Path) -> None:
    assert "does not contain initdb or postgres" in refusal(BinariesNotFound, tmp_path, tmp_path)


def test_an_old_postgres_is_refused(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        _ = (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.9 (Debian)'\n")
        (tmp_path / name).chmod(0o755)
    assert "Postgres 15.9" in refusal(BinariesNotFound, tmp_path / "data", tmp_path)


def test_pg_config_on_the_path_names_the_programs_when_there_is_no_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find_binaries().folder
    _ = (tmp_path / "pg_config").write_text(f"#!/bin/sh\necho '{folder}'\n")
    (tmp_path / "pg_config").chmod(0o755)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binaries().folder == folder
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BinariesNotFound, match="install tokenbalance"):
        _ = find_binaries()


@linux
def test_a_thread_may_not_start_the_server(data: Path) -> None:
    # The kernel would stop the server when the thread ends.
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(refusal(EmbeddedPostgresError, data)))
    thread.start()
    thread.join()
    assert said == ["the embedded Postgres must be started from the main thread"]
