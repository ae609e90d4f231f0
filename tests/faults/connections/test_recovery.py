"""Connections after the server was restarted, replaced, or refused them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from tests.support.database_server import (
    LIMIT_S,
    SIZE,
    Link,
    Server,
    database_with,
    fill,
    linux,
    until,
    within,
)
from tests.support.fault_proxy import FaultProxy, database_target, dsn_through
from tokenbalance.database import connections
from tokenbalance.database.connections import UNAVAILABLE, Pool, open_pool
from tokenbalance.postgres.connection import dsn_of

pytestmark = pytest.mark.product_deadlines


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


async def test_a_way_on_which_opening_takes_most_of_a_deadline_can_be_used(server: Server) -> None:
    async with (
        FaultProxy(database_target(server.dsn)) as proxy,
        open_pool(dsn_through(proxy, server.dsn), 1) as pool,
    ):
        # Opening a connection takes eight times as long, and the first statement four times.
        proxy.delay(0.12)
        assert await pool.fetchval("SELECT 1", deadline_s=1.4) == 1
        opened = proxy.accepted
        assert await pool.fetchval("SELECT 1", deadline_s=1.4) == 1
        assert proxy.accepted == opened


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
    async with database_with(server, setting), open_pool(server.dsn, 1) as pool:
        session = await pool.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(UNAVAILABLE) as raised:
            await pool.fetchrow("SELECT FROM numbers")
        assert type(raised.value) is error
        assert await pool.fetchval("SELECT pg_backend_pid()") == session


async def test_sessions_of_an_old_primary_are_left_behind(pool: Pool, server: Server) -> None:
    async with open_pool(server.dsn, SIZE) as demoted:
        async with database_with(server, "default_transaction_read_only = on"):
            await fill(demoted)
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as error:
                await demoted.execute("UPDATE numbers SET number = 2")
            assert isinstance(error.value, UNAVAILABLE)
        for number in range(3, 3 + SIZE):
            await demoted.execute("UPDATE numbers SET number = $1", number)
            assert await pool.fetchval("SELECT number FROM numbers") == number


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
        await until(partial(is_refused, dsn), "the password is asked for")
        async with open_pool(dsn, 1) as pool:
            with pytest.raises(UNAVAILABLE) as error:
                await pool.fetchrow("SELECT 1")
            assert isinstance(error.value, asyncpg.InvalidPasswordError)
            await admin.execute("ALTER ROLE guarded PASSWORD 'old'")
            assert await pool.fetchval("SELECT 1") == 1
    await admin.execute("SELECT pg_reload_conf()")
    await admin.execute("DROP ROLE guarded")


async def is_refused(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn)
    except asyncpg.InvalidPasswordError:
        return True
    await connection.close()
    return False
