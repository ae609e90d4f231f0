"""The request path's connections when the server is stopped, silent, gone, full or another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Self

import asyncpg
import pytest
from asyncpg.exceptions import PostgresError

from tests.support.postgres import start_cluster
from tokenbalance.database import connections
from tokenbalance.database.connections import UNAVAILABLE, Pool, open_pool
from tokenbalance.database.connections.hosts import one_host_each
from tokenbalance.database.connections.pool import CLOSE_TIMEOUT_S
from tokenbalance.postgres.connection import dsn_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterator,
    )

    from tokenbalance.postgres import EmbeddedPostgres

pytestmark = pytest.mark.product_deadlines
linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")

LIMIT_S = 3.0
"""What a refusal may take, and what a recovery may."""
SOON_S = 0.4
"""A deadline for tests that must run into one."""
PATIENCE_S = 20.0
SIZE = 4

NOT_NOW = """
    08000 08001 08003 08004 08006 08P01 25006 25P03 25P04 26000 28000 28P01 3D000
    40001 40003 40P01 42703 42P01 42P05 53000 53100 53200 53300 53400 55000 55006 55P03
    57014 57P01 57P02 57P03 57P04 57P05 58000 58030 58P01 XX000 XX001 XX002 ZZ123
""".split()  # noqa: SIM905 - a table to read
WRONG = """
    0A000 21000 22001 22003 22012 22021 22P02 23001 23502 23503 23505 23514 23P01
    25P02 42501 42601 42804 42883 42P02 54000 54001 P0001
""".split()  # noqa: SIM905 - a table to read


@dataclass
class Server:
    """A cluster of these tests' own, which may be stopped, restarted and misled."""

    folder: Path
    cluster: EmbeddedPostgres

    @property
    def address(self) -> Path:
        """Where its socket's folder is, whatever that is called since the last start."""
        return self.folder / "socket"

    @property
    def dsn(self) -> str:
        return dsn_of(self.address)

    def move_in(self) -> None:
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(self.cluster.socket_folder)

    def stop(self) -> None:
        self.cluster.stop()

    def start(self) -> None:
        self.cluster = start_cluster(self.folder)
        self.move_in()

    def processes(self) -> list[int]:
        """Find everything that runs in the cluster, the one that starts the others first."""
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink().is_relative_to(self.folder):
                    found.append(int(process.name))
        return sorted(found)

    def send(self, number: int) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        """Keep every process from answering, with all of its connections open."""
        try:
            self.send(signal.SIGSTOP)
            self.send(signal.SIGSTOP)  # what was being started meanwhile
            yield
        finally:
            self.send(signal.SIGCONT)

    @contextlib.contextmanager
    def asking_for_passwords(self, role: str) -> Generator[None]:
        """Change the rules of who may come in; the server reads them when it is told to."""
        rules = self.folder / "postgres" / "pgdata" / "pg_hba.conf"
        original = rules.read_text()
        rules.write_text(f"local all {role} scram-sha-256\n{original}")
        try:
            yield
        finally:
            rules.write_text(original)


class Link:
    """A TCP way to the server that can fall silent: it takes every byte and passes none on."""

    def __init__(self, address: Path) -> None:
        self.silent = False
        """Of the connections that there will be."""
        self.connections = 0
        self._address = address
        self._muted: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@{self.host}/tokenbalance?sslmode=disable"

    def mute(self) -> None:
        """Let the open connections lead nowhere, without an end that anybody could see."""
        self._muted |= self._open

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            self._muted.add(writer)
        there, back = await asyncio.open_unix_connection(self._address / ".s.PGSQL.5432")
        self._open.add(back)
        await asyncio.gather(self._pass(reader, back, writer), self._pass(there, writer, writer))

    async def _pass(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if client not in self._muted:
                    target.write(data)
        target.close()


async def until(condition: Callable[[], Awaitable[object] | bool], what: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while True:
        response = condition()
        if response is True or (not isinstance(response, bool) and await response):
            return
        if monotonic() > deadline:
            pytest.fail(f"still not so after {PATIENCE_S} s: {what}")
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def within(limit_s: float) -> Generator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < limit_s


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, start_cluster(folder))
    server.move_in()
    yield server
    server.stop()


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """Another session: one that is in the way, or that looks on."""
    admin = await asyncpg.connect(dsn_of(server.address, "postgres"))
    yield admin
    await admin.close()


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[Pool]:
    async with open_pool(server.dsn, SIZE) as pool:
        await pool.execute("DROP TABLE IF EXISTS numbers; CREATE TABLE numbers (number int)")
        await pool.execute("INSERT INTO numbers VALUES (1)")
        yield pool


@pytest.fixture
async def locked(pool: Pool, server: Server) -> AsyncIterator[asyncpg.Connection]:
    """The session that has the table's lock, which every statement on it waits for."""
    assert await pool.fetchval("SELECT number FROM numbers") == 1
    session = await asyncpg.connect(server.dsn)
    await session.execute("BEGIN; LOCK TABLE numbers")
    yield session
    await session.close()


@pytest.fixture
async def link(server: Server) -> AsyncIterator[Link]:
    async with Link(server.address) as link:
        yield link


async def fill(pool: Pool) -> None:
    """Have every connection that the pool may make, all of them idle."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SIZE):
            await stack.enter_async_context(pool.acquire(LIMIT_S))


async def timed_out(pool: Pool, statement: str = "SELECT 1", deadline_s: float = SOON_S) -> None:
    with within(deadline_s + LIMIT_S), pytest.raises(TimeoutError):
        await pool.fetchrow(statement, deadline_s=deadline_s)


# What means that the database cannot do it now.


@pytest.mark.parametrize(
    "sqlstate",
    NOT_NOW,
)
def test_what_the_database_cannot_do_now_is_known(sqlstate: str) -> None:
    assert isinstance(PostgresError.new({"C": sqlstate, "M": "no"}), UNAVAILABLE)


@pytest.mark.parametrize(
    "sqlstate",
    WRONG,
)
def test_a_wrong_statement_is_not_taken_for_a_database_that_is_away(sqlstate: str) -> None:
    assert not isinstance(PostgresError.new({"C": sqlstate, "M": "no"}), UNAVAILABLE)


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionRefusedError(),
        FileNotFoundError(),  # of a unix socket
        ssl.SSLCertVerificationError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 11"),
        asyncpg.TargetServerAttributeNotMatched("no host is writable"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_driver_says_of_a_lost_connection_is_known(error: Exception) -> None:
    assert isinstance(error, UNAVAILABLE)


@pytest.mark.parametrize("error", [ValueError(), TypeError(), asyncio.CancelledError()], ids=repr)
def test_our_own_mistakes_are_not_the_databases(error: BaseException) -> None:
    assert not isinstance(error, UNAVAILABLE)


@pytest.mark.parametrize("wrong", [10**30, "text", "\ud800"])
async def test_a_value_that_no_column_takes_is_no_outage(pool: Pool, wrong: object) -> None:
    with pytest.raises(asyncpg.DataError) as error:
        await pool.fetchval("SELECT $1::bigint", wrong)
    assert not isinstance(error.value, UNAVAILABLE)


# Deadlines.


@linux
async def test_a_stopped_server_is_given_up_in_time_and_used_again_when_it_goes_on(
    pool: Pool, server: Server
) -> None:
    await fill(pool)
    with server.frozen():
        waiting = [pool.fetchrow("SELECT 1") for _ in range(3 * SIZE)]
        with within(LIMIT_S):
            responses = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(response) for response in responses] == [TimeoutError] * len(responses)
        await timed_out(pool)  # of a new connection
    with within(LIMIT_S):
        assert await pool.fetchval("SELECT 1") == 1
        await fill(pool)


@linux
async def test_a_statement_on_a_stopped_server_can_be_cancelled_at_once(
    pool: Pool, server: Server
) -> None:
    await fill(pool)
    with server.frozen():
        tasks = [
            asyncio.create_task(pool.fetchrow("SELECT 1", deadline_s=60)) for _ in range(2 * SIZE)
        ]
        await asyncio.sleep(0)
        with within(LIMIT_S):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    with within(LIMIT_S):
        await fill(pool)


@linux
@pytest.mark.parametrize("busy", [False, True])
async def test_a_pool_is_closed_in_time_though_the_server_is_stopped(
    server: Server, *, busy: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(server.dsn, SIZE))
        await fill(pool)
        _ = stack.enter_context(server.frozen())
        statement = asyncio.create_task(pool.fetchrow("SELECT 1", deadline_s=60 if busy else 0.01))
        await asyncio.wait([statement], timeout=0 if busy else None)
        # Nothing runs on idle connections, and their end is not waited for.
        with within(CLOSE_TIMEOUT_S * (2 if busy else 1)):
            await pool.close()
        with pytest.raises(UNAVAILABLE):
            await statement
        with pytest.raises(UNAVAILABLE):
            await pool.fetchrow("SELECT 1")


async def test_a_server_that_never_says_a_word_is_given_up_in_time(link: Link) -> None:
    link.silent = True
    async with open_pool(link.dsn, SIZE) as pool:
        await asyncio.gather(*[timed_out(pool) for _ in range(3 * SIZE)])
        link.silent = False
        with within(LIMIT_S):
            await fill(pool)


async def test_idle_connections_that_lead_nowhere_cost_one_deadline_and_not_one_each(
    link: Link,
) -> None:
    async with open_pool(link.dsn, SIZE) as pool:
        await fill(pool)
        link.mute()
        await timed_out(pool)
        assert await pool.fetchval("SELECT 1", deadline_s=LIMIT_S) == 1
        await fill(pool)


@pytest.mark.usefixtures("locked")
async def test_an_exhausted_pool_is_given_up_in_time(pool: Pool) -> None:
    waiting = [
        asyncio.create_task(pool.fetchrow("SELECT FROM numbers", deadline_s=60))
        for _ in range(SIZE)
    ]
    await asyncio.sleep(0)
    await timed_out(pool)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert await pool.fetchval("SELECT 1") == 1


async def test_a_statement_that_was_given_up_is_not_committed_later(
    pool: Pool, locked: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    await timed_out(pool, "UPDATE numbers SET number = 2")
    await until(partial(_nobody_waits, admin), "the server has cancelled what was given up")
    await locked.execute("COMMIT")
    assert await pool.fetchval("SELECT number FROM numbers") == 1


async def _somebody_waits(admin: asyncpg.Connection) -> bool:
    return bool(await admin.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


async def _nobody_waits(admin: asyncpg.Connection) -> bool:
    return not await _somebody_waits(admin)


@pytest.mark.usefixtures("locked")
async def test_a_cancelled_statement_leaves_the_pool_whole(
    server: Server, admin: asyncpg.Connection
) -> None:
    async with open_pool(server.dsn, 1) as pool:
        statement = asyncio.create_task(pool.fetchrow("SELECT FROM numbers", deadline_s=60))
        await until(partial(_somebody_waits, admin), "the statement waits for the lock")
        statement.cancel()
        with within(LIMIT_S), pytest.raises(asyncio.CancelledError):
            await statement
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.usefixtures("locked")
async def test_one_that_waits_for_a_lock_does_not_take_the_connections_of_others(
    pool: Pool,
) -> None:
    waiting = asyncio.create_task(timed_out(pool, "SELECT FROM numbers"))
    await asyncio.sleep(0)
    others: set[int] = set()
    while not waiting.done():
        others.add(await pool.fetchval("SELECT pg_backend_pid()"))
    await waiting
    assert await pool.fetchval("SELECT pg_backend_pid()") in others
    assert len(others) == 1


async def test_more_statements_than_connections_are_all_answered(pool: Pool) -> None:
    numbers = range(50 * SIZE)
    responses = await asyncio.gather(*[pool.fetchval("SELECT $1::int", n) for n in numbers])
    assert responses == list(numbers)


# Servers that go, and come back.


async def test_a_restarted_server_is_used_again_at_once(pool: Pool, server: Server) -> None:
    await fill(pool)
    server.stop()
    try:
        with within(LIMIT_S), pytest.raises(UNAVAILABLE):
            await pool.fetchrow("SELECT 1")
    finally:
        server.start()
    with within(LIMIT_S):
        assert await pool.fetchval("SELECT number FROM numbers") == 1
        await fill(pool)


async def test_a_busy_pool_is_waited_for_as_long_as_others_get_their_answers(pool: Pool) -> None:
    slow = "SELECT pg_sleep(0.2)"
    responded = await asyncio.gather(
        *(pool.fetchval(slow, deadline_s=1) for _ in range(SIZE * 8)), return_exceptions=True
    )
    assert [response for response in responded if isinstance(response, Exception)] == []


@linux
async def test_killed_idle_connections_are_noticed(pool: Pool, admin: asyncpg.Connection) -> None:
    await fill(pool)
    killed = await admin.fetch(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
        connections.NAME,
    )
    assert len(killed) == SIZE
    for row in killed:
        process = Path("/proc") / str(row["pid"])
        await until(lambda process=process: not process.exists(), "the session is gone")
    # The goodbye may arrive between two steps of the first statement, and costs that one.
    with suppress(*UNAVAILABLE):
        assert await pool.fetchval("SELECT 1") == 1
    assert await pool.fetchval("SELECT 1") == 1
    await fill(pool)


async def test_a_connection_killed_at_work_is_lost_and_the_next_one_works(
    pool: Pool, locked: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    statement = asyncio.create_task(pool.fetchrow("SELECT FROM numbers"))
    await until(partial(_terminate_who_waits, admin), "the statement waits for the lock")
    with pytest.raises(UNAVAILABLE) as error:
        await statement
    assert not isinstance(error.value, TimeoutError)
    await locked.execute("ROLLBACK")
    assert await pool.fetchval("SELECT number FROM numbers") == 1


async def _terminate_who_waits(admin: asyncpg.Connection) -> bool:
    return bool(
        await admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND pid IS NOT NULL"
        )
    )


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("statement_timeout = 50", asyncpg.QueryCanceledError),
        ("lock_timeout = 50", asyncpg.LockNotAvailableError),
    ],
)
async def test_the_servers_own_timeouts_mean_not_now_and_keep_the_connection(
    locked: asyncpg.Connection, server: Server, setting: str, error: type[Exception]
) -> None:
    await locked.execute("SAVEPOINT before")
    async with _database_with(server, setting), open_pool(server.dsn, 1) as pool:
        session = await pool.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(UNAVAILABLE) as raised:
            await pool.fetchrow("SELECT FROM numbers")
        assert type(raised.value) is error
        assert await pool.fetchval("SELECT pg_backend_pid()") == session


async def test_sessions_of_an_old_primary_are_left_behind(pool: Pool, server: Server) -> None:
    async with open_pool(server.dsn, SIZE) as demoted:
        async with _database_with(server, "default_transaction_read_only = on"):
            await fill(demoted)
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as error:
                await demoted.execute("UPDATE numbers SET number = 2")
            assert isinstance(error.value, UNAVAILABLE)
        for number in range(3, 3 + SIZE):
            await demoted.execute("UPDATE numbers SET number = $1", number)
            assert await pool.fetchval("SELECT number FROM numbers") == number


@contextlib.asynccontextmanager
async def _database_with(server: Server, setting: str) -> AsyncGenerator[None]:
    """Change what new sessions of the database begin with."""
    session = await asyncpg.connect(dsn_of(server.address, "postgres"))
    try:
        await session.execute(f"ALTER DATABASE tokenbalance SET {setting}")
        yield
    finally:
        await session.execute("ALTER DATABASE tokenbalance RESET ALL")
        await session.close()


async def test_a_refused_connection_is_said_at_once() -> None:
    async with Link(Path()) as link:
        dsn = link.dsn
    async with open_pool(dsn, SIZE) as pool:
        for _ in range(2 * SIZE):
            with within(LIMIT_S), pytest.raises(ConnectionRefusedError):
                await pool.fetchrow("SELECT 1")


async def test_a_database_that_is_not_there_is_used_when_it_is(
    server: Server, admin: asyncpg.Connection
) -> None:
    async with open_pool(dsn_of(server.address, "later"), 1) as pool:
        with pytest.raises(UNAVAILABLE) as error:
            await pool.fetchrow("SELECT 1")
        assert isinstance(error.value, asyncpg.InvalidCatalogNameError)
        await admin.execute("CREATE DATABASE later")
        assert await pool.fetchval("SELECT 1") == 1
        await admin.execute("DROP DATABASE later WITH (FORCE)")


async def test_a_password_that_is_being_changed_is_an_outage_that_passes(
    server: Server, admin: asyncpg.Connection
) -> None:
    await admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'new'")
    dsn = server.dsn.replace("postgres@", "guarded:old@")
    with server.asking_for_passwords("guarded"):
        await admin.execute("SELECT pg_reload_conf()")
        await until(partial(_is_refused, dsn), "the password is asked for")
        async with open_pool(dsn, 1) as pool:
            with pytest.raises(UNAVAILABLE) as error:
                await pool.fetchrow("SELECT 1")
            assert isinstance(error.value, asyncpg.InvalidPasswordError)
            await admin.execute("ALTER ROLE guarded PASSWORD 'old'")
            assert await pool.fetchval("SELECT 1") == 1
    await admin.execute("SELECT pg_reload_conf()")
    await admin.execute("DROP ROLE guarded")


async def _is_refused(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except asyncpg.InvalidPasswordError:
        return True
    await connection.close()
    return False


# Addresses with several hosts.


async def test_a_silent_host_leaves_time_for_the_next_and_is_not_asked_first_again(
    server: Server, link: Link
) -> None:
    async with Link(server.address) as silent:
        silent.silent = True
        dsn = link.dsn.replace(link.host, f"{silent.host},{link.host}")
        async with open_pool(dsn, SIZE) as pool:
            with within(LIMIT_S):
                assert await pool.fetchval("SELECT 1") == 1
            await fill(pool)
        assert (silent.connections, link.connections) == (1, SIZE)


async def test_a_host_that_cannot_be_written_to_is_passed_over(server: Server, link: Link) -> None:
    dsn = f"{link.dsn}&target_session_attrs=read-write"
    async with open_pool(dsn.replace(link.host, f"{link.host},{link.host}"), 1) as pool:
        async with _database_with(server, "default_transaction_read_only = on"):
            with pytest.raises(UNAVAILABLE) as error:
                await pool.fetchrow("SELECT 1")
            assert isinstance(error.value, asyncpg.TargetServerAttributeNotMatched)
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://a/d", ["postgresql://a/d"]),
        ("postgresql://u:p,w@a:1/d?x=1,2", ["postgresql://u:p,w@a:1/d?x=1,2"]),
        ("postgresql://u@a:1,b/d?x=1", ["postgresql://u@a:1/d?x=1", "postgresql://u@b/d?x=1"]),
        ("postgres://[::1]:5,[::2]/d", ["postgres://[::1]:5/d", "postgres://[::2]/d"]),
        ("postgresql:///d?host=/run/a,b", ["postgresql:///d?host=/run/a,b"]),
    ],
)
def test_an_address_is_parted_into_its_hosts(dsn: str, hosts: list[str]) -> None:
    assert one_host_each(dsn) == hosts


async def test_connections_bear_the_name_they_were_given(server: Server) -> None:
    async with open_pool(server.dsn, 1, "somebody") as pool:
        assert await pool.fetchval("SHOW application_name") == "somebody"
