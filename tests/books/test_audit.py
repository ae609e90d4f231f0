"""The audit: sound books have no violations, and what is broken is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder
from tests.support.broken_books import BROKEN, break_books, entry, expire, give_back, place, settle
from tokenbalance.books.ledger.audit import AuditReport, audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import SWEEP_NAME, open_pool
from tokenbalance.model import Purpose

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.database.connections.pool import Borrowed


@pytest.fixture
async def books(pool: Pool, sessions: Sessions) -> Holder:
    """Account 1 with holds of all fates, account 2 with nothing.

    1 settled, 2 voided, 3 open, 4 overrun, 5 expired, 6 expired and corrected, 7 forgotten,
    8 settled and refunded in part; 9 expired, refunded, and corrected to less.
    """
    holder = await create_holder(pool, 1000)
    _ = await create_holder(pool)
    book = Book(pool)
    await settle(pool, await place(pool, holder, "tb_1", 100), 60)
    await book.void(await place(pool, holder, "tb_2", 100))
    _ = await place(pool, holder, "tb_3", 100)
    await settle(pool, await place(pool, holder, "tb_4", 100), 130)
    await expire(pool, await place(pool, holder, "tb_5", 100), 20)
    corrected = await place(pool, holder, "tb_6", 100)
    await expire(pool, corrected, 30)
    await settle(pool, corrected, 35)
    await book.leave_tombstone(holder.caller, Purpose("tb_7", "/models", None), placed=100)
    await settle(pool, await place(pool, holder, "tb_8", 100), 40)
    await give_back(sessions, "tb_8", 15)
    refunded = await place(pool, holder, "tb_9", 100)
    await expire(pool, refunded, 50)
    await give_back(sessions, "tb_9", None)
    await settle(pool, refunded, 10)
    return holder


@pytest.mark.usefixtures("books")
async def test_sound_books_are_counted_and_have_no_violations(pool: Pool) -> None:
    report = await audit(pool)
    assert report.violations == []
    assert report.ok
    assert (report.accounts, report.entries, report.open_holds) == (2, 11, 1)


async def test_empty_books_are_sound(pool: Pool) -> None:
    assert await audit(pool) == AuditReport(
        ok=True, accounts=0, entries=0, open_holds=0, violations=[]
    )


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_is_named(pool: Pool, name: str) -> None:
    statements, violations = BROKEN[name]
    await break_books(pool, *statements)

    report = await audit(pool)

    assert report.violations == violations
    assert not report.ok


@pytest.mark.usefixtures("books")
async def test_what_overdraft_overruns_and_corrections_explain_is_allowed(pool: Pool) -> None:
    await break_books(pool, entry("adjustment", -770 + 100 - 30 - 5))
    assert (await audit(pool)).violations == []


@pytest.mark.usefixtures("books")
async def test_two_connections_prove_as_much_as_one(pool: Pool) -> None:
    async with pool.acquire() as connection, pool.acquire() as second:
        assert (await audit(connection, second)).ok
        await break_books(pool, entry("refund", 26, "tb_8"), "UPDATE accounts SET held = 0")
        report = await audit(connection, second)
        assert report == await audit(connection)
    assert report.violations == [
        "account 1: held is 0, its open holds add up to 100",
        "request tb_8 of account 1: took 40 credits, and 41 were refunded",
    ]


async def sweep_for_a_minute(connection: Borrowed) -> None:
    """Let this session see the connections to the server as if they were a minute older."""
    await connection.execute(
        "CREATE VIEW public.pg_stat_activity AS"
        " SELECT datname, application_name, backend_start - interval '60 s' AS backend_start"
        " FROM pg_catalog.pg_stat_activity"
    )
    await connection.execute("SET search_path = public, pg_catalog")


@pytest.mark.usefixtures("books")
async def test_an_open_hold_outlives_its_lease_only_where_nobody_sweeps(
    pool: Pool, dsn: str
) -> None:
    await pool.execute(
        "UPDATE open_holds SET lease_until = '2026-01-01 00:00:00+00' WHERE request_id = 'tb_3'"
    )
    assert (await audit(pool)).violations == []
    async with open_pool(dsn, 1, SWEEP_NAME) as sweeps, pool.acquire() as connection:
        await sweeps.execute("SELECT")
        # It may not have had the time yet.
        assert (await audit(connection)).violations == []
        await sweep_for_a_minute(connection)
        assert (await audit(connection)).violations == [
            "hold tb_3 of account 1: is open, but its lease ended at 2026-01-01 00:00:00+00"
        ]
        await pool.execute("UPDATE open_holds SET lease_until = now() - interval '50 s'")
        assert (await audit(connection)).violations == []


async def test_what_an_earlier_version_took_from_running_requests_is_excused(pool: Pool) -> None:
    holder = await create_holder(pool, 100)
    running, ended = await place(pool, holder, "tb_1", 30), await place(pool, holder, "tb_2", 50)
    await pool.execute(entry("set", -100))
    await settle(pool, ended, 50)
    assert (await audit(pool)).violations == [
        "account 1: balance is -50, held is 30, the lowest balance allowed is 30"
    ]

    await pool.execute("UPDATE books SET holds_covered_after = 2")
    assert (await audit(pool)).violations == []
    await settle(pool, running, 30)
    assert (await audit(pool)).violations == []
    # Only by so much, and only for requests that were running at the time.
    await break_books(pool, entry("adjustment", -1))
    assert (await audit(pool)).violations == [
        "account 1: balance is -81, held is 0, the lowest balance allowed is -80"
    ]


async def test_a_request_that_began_after_an_excused_entry_is_no_excuse(pool: Pool) -> None:
    holder = await create_holder(pool, 100)
    await pool.execute(entry("set", -20))
    await pool.execute("UPDATE books SET holds_covered_after = 2")
    hold = await place(pool, holder, "tb_1", 80)
    await pool.execute(entry("set", -80))
    await settle(pool, hold, 80)
    assert (await audit(pool)).violations == [
        "account 1: balance is -80, held is 0, the lowest balance allowed is 0"
    ]


async def test_books_are_sound_at_every_moment_while_requests_run(pool: Pool) -> None:
    holder = await create_holder(pool, 10_000)

    async def request(number: int) -> None:
        hold = await place(pool, holder, f"tb_{number}", 50)
        if number % 5:
            await settle(pool, hold, number % 60)
        else:
            await Book(pool).void(hold)

    requests = [asyncio.create_task(request(number)) for number in range(100)]
    audits = 0
    while not all(task.done() for task in requests):
        assert (await audit(pool)).violations == []
        audits += 1
    _ = await asyncio.gather(*requests)
    assert audits > 1
    assert (await audit(pool)).entries == 1 + 80
