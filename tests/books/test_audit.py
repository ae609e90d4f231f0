from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder
from tokenbalance.books.ledger.audit import AuditReport, audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause, refund, set_balance
from tokenbalance.database.connections import SWEEP_NAME, open_pool
from tokenbalance.model import Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.database.connections.pool import Borrowed


async def place(pool: Pool, holder: Holder, request_id: str, amount: int) -> Hold:
    hold = await Book(pool).place(
        holder.caller, Purpose(request_id, "/models", None), Claim(amount, amount)
    )
    assert hold
    return hold


async def settle(pool: Pool, hold: Hold, total: int) -> None:
    assert await Book(pool).settle(hold, Usage(input=total, total=total))


async def expire(pool: Pool, hold: Hold, total: int) -> None:
    usage = Usage(input=total, total=total, estimated=True)
    assert await Book(pool).expire(hold, usage, orphaned=True)


async def give_back(sessions: Sessions, request_id: str, amount: int | None) -> None:
    async with sessions.begin() as session:
        _ = await refund(session, request_id, amount, Cause("cli"))


async def break_books(pool: Pool, *statements: str) -> None:
    """Change rows as only a superuser can: past the ledger's trigger and the foreign keys."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)


@pytest.fixture
async def books(pool: Pool, sessions: Sessions) -> Holder:
    """Account 1 with holds of all fates, account 2 with nothing.

    1 settled, 2 voided, 3 open, 4 overrun, 5 expired, 6 expired and corrected, 7 never placed,
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
    await book.leave_tombstone(holder.caller, Purpose("tb_7", "/models", None))
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


# The ledger of account 1: 1 grant, 2 charge of tb_1, 3 of tb_4, 4 of tb_5, 5 of tb_6, 6 its
# correction, 7 charge of tb_8, 8 its refund, 9 charge of tb_9, 10 its refund, 11 its correction.
def entry(kind: str, amount: int, request_id: str | None = None) -> str:
    """Add an entry to account 1 as somebody would who knows how balances follow."""
    names = "NULL" if request_id is None else f"'{request_id}'"
    return f"""
        WITH account AS (
            UPDATE accounts SET balance = balance + {amount} WHERE id = 1 RETURNING balance
        )
        INSERT INTO ledger_entries (account_id, kind, amount, balance_after, request_id, actor)
        SELECT 1, '{kind}', {amount}, balance, {names}, 'nobody' FROM account
    """  # noqa: S608


def without(table: str, constraint: str) -> str:
    """Lose a constraint, as a restored backup may."""
    return f"ALTER TABLE {table} DROP CONSTRAINT {constraint} CASCADE"


BROKEN = {
    "a balance that nobody entered": (
        ["UPDATE accounts SET balance = balance + 1 WHERE id = 2"],
        ["account 2: balance is 1, its entries add up to 0"],
    ),
    "a held sum without its hold": (
        ["UPDATE accounts SET held = 0 WHERE id = 1"],
        ["account 1: held is 0, its open holds add up to 100"],
    ),
    "a negative held sum": (
        [
            without("accounts", "ck_accounts_held_not_negative"),
            without("holds", "ck_holds_amount_positive"),
            "UPDATE holds SET amount = -1 WHERE request_id = 'tb_3'",
            "UPDATE accounts SET held = -1 WHERE id = 1",
        ],
        ["account 1: held is -1, its open holds add up to -1"],
    ),
    "an account that is gone": (
        ["DELETE FROM accounts WHERE id = 1"],
        ["account 1: does not exist, but has 11 entries and 1 open holds"],
    ),
    "an entry that was changed, with the balance": (
        [
            "UPDATE ledger_entries SET amount = 2000 WHERE id = 1",
            "UPDATE accounts SET balance = balance + 1000 WHERE id = 1",
        ],
        ["entry 1 of account 1: balance_after is 1000, 0 before it and its amount make 2000"],
    ),
    "an entry that was taken out of the middle, with the balance": (
        [
            "DELETE FROM ledger_entries WHERE id = 2",
            "DELETE FROM usage WHERE request_id = 'tb_1'",
            "DELETE FROM holds WHERE request_id = 'tb_1'",
            "UPDATE accounts SET balance = balance + 60 WHERE id = 1",
        ],
        ["entry 3 of account 1: balance_after is 810, 1000 before it and its amount make 870"],
    ),
    "a balance after the last entry that is wrong": (
        ["UPDATE ledger_entries SET balance_after = 771 WHERE id = 11"],
        ["entry 11 of account 1: balance_after is 771, 730 before it and its amount make 770"],
    ),
    "a request whose hold is gone": (
        ["DELETE FROM holds WHERE request_id = 'tb_1'"],
        [
            "entry 2 of account 1: charges request tb_1, which has no hold",
            "usage of request tb_1 of account 1: has no hold",
        ],
    ),
    "a corrected request whose hold is gone": (
        ["DELETE FROM holds WHERE request_id = 'tb_6'"],
        [
            "entry 5 of account 1: charges request tb_6, which has no hold",
            "entry 6 of account 1: names request tb_6, which has no hold",
            "usage of request tb_6 of account 1: has no hold",
        ],
    ),
    "a refund of a request that never was": (
        [entry("refund", 5, "tb_0")],
        ["entry 12 of account 1: refunds request tb_0, which has no hold"],
    ),
    "usage of a request that never was": (
        ["UPDATE usage SET account_id = 2 WHERE request_id = 'tb_1'"],
        [
            "usage of request tb_1 of account 2: has no hold",
            "hold tb_1 of account 1: is settled, with 1 charges and 0 records of usage",
        ],
    ),
    "one request with holds of two accounts": (
        [
            (
                "INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, state,"
                " ended_at) VALUES (2, 'tb_1', 2, 1, '/models', 'voided', now())"
            )
        ],
        ["request tb_1: has 2 holds, of accounts 1, 2"],
    ),
    "one request with two holds": (
        [
            without("holds", "pk_holds"),
            "INSERT INTO holds SELECT * FROM holds WHERE request_id = 'tb_2'",
        ],
        ["request tb_2: has 2 holds, of accounts 1, 1"],
    ),
    "one request with two charges": (
        ["DROP INDEX uq_ledger_entries_one_charge_per_request", entry("charge", -60, "tb_1")],
        ["request tb_1 of account 1: has 2 charges"],
    ),
    "one request with two records of usage": (
        [
            without("usage", "pk_usage"),
            "INSERT INTO usage SELECT * FROM usage WHERE request_id = 'tb_1'",
        ],
        ["request tb_1 of account 1: has 2 records of usage"],
    ),
    "a voided hold that was charged": (
        ["UPDATE holds SET state = 'voided' WHERE request_id = 'tb_1'"],
        ["hold tb_1 of account 1: is voided, with 1 charges and 1 records of usage"],
    ),
    "an open hold that was charged": (
        [
            "UPDATE holds SET state = 'open', ended_at = NULL WHERE request_id = 'tb_1'",
            "UPDATE accounts SET held = held + 100 WHERE id = 1",
        ],
        ["hold tb_1 of account 1: is open, with 1 charges and 1 records of usage"],
    ),
    "a settled hold that was not charged": (
        ["UPDATE holds SET state = 'settled' WHERE request_id = 'tb_2'"],
        ["hold tb_2 of account 1: is settled, with 0 charges and 0 records of usage"],
    ),
    "an expired hold that was not charged": (
        ["UPDATE holds SET state = 'expired' WHERE request_id = 'tb_2'"],
        ["hold tb_2 of account 1: is expired, with 0 charges and 0 records of usage"],
    ),
    "a charge without its usage": (
        ["DELETE FROM usage WHERE request_id = 'tb_1'"],
        ["hold tb_1 of account 1: is settled, with 1 charges and 0 records of usage"],
    ),
    "a charge of what was never placed": (
        [entry("charge", -5, "tb_7")],
        ["hold tb_7 of account 1: is voided, with 1 charges and 0 records of usage"],
    ),
    "a charge that is not what was used": (
        ["UPDATE usage SET total = 61 WHERE request_id = 'tb_1'"],
        [
            (
                "request tb_1 of account 1: took 60 credits, its usage says charge 60, total 61,"
                " overrun 0 of a hold of 100"
            )
        ],
    ),
    "a charge that is not what the usage says": (
        ["UPDATE usage SET charge = 59, total = 59 WHERE request_id = 'tb_1'"],
        [
            (
                "request tb_1 of account 1: took 60 credits, its usage says charge 59, total 59,"
                " overrun 0 of a hold of 100"
            )
        ],
    ),
    "an overrun that is hidden": (
        ["UPDATE usage SET overrun = 0 WHERE request_id = 'tb_4'"],
        [
            (
                "request tb_4 of account 1: took 130 credits, its usage says charge 130, total 130,"
                " overrun 0 of a hold of 100"
            )
        ],
    ),
    "an overrun that was none": (
        ["UPDATE usage SET overrun = 1 WHERE request_id = 'tb_1'"],
        [
            (
                "request tb_1 of account 1: took 60 credits, its usage says charge 60, total 60,"
                " overrun 1 of a hold of 100"
            )
        ],
    ),
    "a charge and a correction that do not make what was used": (
        ["UPDATE usage SET charge = 36, total = 36 WHERE request_id = 'tb_6'"],
        [
            (
                "request tb_6 of account 1: took 35 credits, its usage says charge 36, total 36,"
                " overrun 0 of a hold of 100"
            )
        ],
    ),
    "a settled hold that was corrected": (
        ["UPDATE usage SET corrected_at = now() WHERE request_id = 'tb_1'"],
        ["hold tb_1 of account 1: is settled, with 0 adjustments, and its usage is corrected"],
    ),
    "an adjustment without a correction": (
        [("UPDATE usage SET corrected_at = NULL, estimated = true WHERE request_id = 'tb_6'")],
        ["hold tb_6 of account 1: is expired, with 1 adjustments, and its usage is not corrected"],
    ),
    "two adjustments of one correction": (
        [
            entry("adjustment", -1, "tb_6"),
            "UPDATE usage SET charge = 36, total = 36 WHERE request_id = 'tb_6'",
        ],
        ["hold tb_6 of account 1: is expired, with 2 adjustments, and its usage is corrected"],
    ),
    "an adjustment of a voided hold": (
        [entry("adjustment", -5, "tb_2")],
        ["hold tb_2 of account 1: is voided, with 1 adjustments, and its usage is not corrected"],
    ),
    "the charge of an expired hold that does not say it is an estimate": (
        ["UPDATE ledger_entries SET estimated = false WHERE id = 5"],
        [
            (
                "hold tb_6 of account 1: is expired, its charge is marked as reported,"
                " its usage as reported"
            )
        ],
    ),
    "the usage of an expired hold that does not say it is an estimate": (
        ["UPDATE usage SET estimated = false WHERE request_id = 'tb_5'"],
        [
            (
                "hold tb_5 of account 1: is expired, its charge is marked as estimated,"
                " its usage as reported"
            )
        ],
    ),
    "an estimate that its charge does not tell of": (
        ["UPDATE usage SET estimated = true WHERE request_id = 'tb_1'"],
        [
            (
                "hold tb_1 of account 1: is settled, its charge is marked as reported,"
                " its usage as estimated"
            )
        ],
    ),
    "refunds that are more than the charge": (
        [entry("refund", 26, "tb_8")],
        ["request tb_8 of account 1: took 40 credits, and 41 were refunded"],
    ),
    "a refund before the correction that is more than the charge": (
        [
            "UPDATE ledger_entries SET amount = 51, balance_after = 731 WHERE id = 10",
            "UPDATE ledger_entries SET balance_after = 771 WHERE id = 11",
            "UPDATE accounts SET balance = 771 WHERE id = 1",
        ],
        ["request tb_9 of account 1: took 10 credits, and 51 were refunded"],
    ),
    "a refund of what a correction gave back": (
        [entry("refund", 1, "tb_9")],
        ["request tb_9 of account 1: took 10 credits, and 51 were refunded"],
    ),
    "a refund of what was never charged": (
        [entry("refund", 5, "tb_2")],
        ["request tb_2 of account 1: took 0 credits, and 5 were refunded"],
    ),
    "a refund of no request": (
        [entry("refund", 5)],
        ["entry 12 of account 1: is a refund of 5 credits for request unknown"],
    ),
    "a refund that takes": (
        [entry("refund", -5, "tb_8")],
        ["entry 12 of account 1: is a refund of -5 credits for request tb_8"],
    ),
    "a charge of no request": (
        [
            without("ledger_entries", "ck_ledger_entries_charge_takes_for_a_request"),
            entry("charge", -5),
        ],
        ["entry 12 of account 1: is a charge of -5 credits for request unknown"],
    ),
    "a charge that gives": (
        [
            without("ledger_entries", "ck_ledger_entries_charge_takes_for_a_request"),
            entry("charge", 5, "tb_2"),
        ],
        [
            "hold tb_2 of account 1: is voided, with 1 charges and 0 records of usage",
            "entry 12 of account 1: is a charge of 5 credits for request tb_2",
        ],
    ),
    "a grant that names a request": (
        [entry("grant", 5, "tb_1")],
        ["request tb_1 of account 1: is named by 1 entries that are not of requests"],
    ),
    "a balance below what overdraft, overruns and corrections explain": (
        [entry("adjustment", -770 - 30 - 5 - 1)],
        ["account 1: balance is -36, the lowest allowed is -35"],
    ),
}


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
    await break_books(pool, entry("adjustment", -770 - 30 - 5))
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
        "UPDATE holds SET lease_until = '2026-01-01 00:00:00+00' WHERE request_id = 'tb_3'"
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
        await pool.execute("UPDATE holds SET lease_until = now() - interval '50 s'")
        assert (await audit(connection)).violations == []


async def test_a_request_outlives_the_balance_that_was_taken_from_it(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    hold = await place(pool, holder, "tb_1", 80)
    async with sessions.begin() as session:
        _ = await set_balance(session, holder.account_id, 0, Cause("cli"))
    await settle(pool, hold, 80)

    assert (await audit(pool)).violations == []
    # Only by so much, and only for requests that were running at the time.
    await break_books(pool, entry("adjustment", -1))
    assert (await audit(pool)).violations == [
        "account 1: balance is -81, the lowest allowed is -80"
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
