from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder
from tokenbalance.ledger.audit import audit
from tokenbalance.ledger.book import Book
from tokenbalance.ledger.credits import Cause, set_balance
from tokenbalance.model import Hold, Purpose, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions


async def place(pool: Pool, holder: Holder, request_id: str, amount: int) -> Hold:
    hold = await Book(pool).place(
        holder.caller, Purpose(request_id, "/models", None), wanted=amount, minimum=amount
    )
    assert hold
    return hold


async def settle(pool: Pool, hold: Hold, total: int) -> None:
    assert await Book(pool).settle(hold, Usage(input=total, total=total))


async def break_books(pool: Pool, *statements: str) -> None:
    """Change rows as only a superuser can: past the ledger's trigger and the foreign keys."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)


@pytest.fixture
async def books(pool: Pool) -> Holder:
    """Account 1 with hold 1 settled, 2 voided, 3 open and 4 overrun; account 2 with nothing."""
    holder = await create_holder(pool, 1000)
    _ = await create_holder(pool)
    await settle(pool, await place(pool, holder, "tb_1", 100), 60)
    await Book(pool).void(await place(pool, holder, "tb_2", 100))
    _ = await place(pool, holder, "tb_3", 100)
    await settle(pool, await place(pool, holder, "tb_4", 100), 130)
    return holder


@pytest.mark.usefixtures("books")
async def test_sound_books_are_counted_and_have_no_violations(pool: Pool) -> None:
    report = await audit(pool)
    assert report.ok
    assert report.violations == []
    assert (report.accounts, report.entries, report.open_holds) == (2, 3, 1)


BROKEN = {
    "a balance that nobody entered": (
        ["UPDATE accounts SET balance = balance + 1 WHERE id = 2"],
        ["account 2: balance is 1, its entries add up to 0"],
    ),
    "a held sum without its hold": (
        ["UPDATE accounts SET held = 0 WHERE id = 1"],
        ["account 1: held is 0, its open holds add up to 100"],
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
    "a charge whose hold is gone": (
        ["DELETE FROM holds WHERE request_id = 'tb_1'"],
        ["entry 2 of account 1: charges request tb_1, which has no hold"],
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
    "a voided hold that was charged": (
        ["UPDATE holds SET state = 'voided' WHERE request_id = 'tb_1'"],
        ["hold tb_1 of account 1: is voided, with 1 charges and 1 records of usage"],
    ),
    "a settled hold that was not charged": (
        ["UPDATE holds SET state = 'settled' WHERE request_id = 'tb_2'"],
        ["hold tb_2 of account 1: is settled, with 0 charges and 0 records of usage"],
    ),
    "a charge without its usage": (
        ["DELETE FROM usage WHERE request_id = 'tb_1'"],
        ["hold tb_1 of account 1: is settled, with 1 charges and 0 records of usage"],
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
    "an overrun that is hidden": (
        ["UPDATE usage SET overrun = 0 WHERE request_id = 'tb_4'"],
        [
            (
                "request tb_4 of account 1: took 130 credits, its usage says charge 130, total 130,"
                " overrun 0 of a hold of 100"
            )
        ],
    ),
    "a balance below what overdraft and overruns explain": (
        [
            "UPDATE accounts SET balance = -31 WHERE id = 1",
            (
                "INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor)"
                " VALUES (1, 'adjustment', -841, -31, 'nobody')"
            ),
        ],
        ["account 1: balance is -31, the lowest allowed is -30"],
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
    await break_books(
        pool,
        "UPDATE accounts SET balance = -81 WHERE id = 1",
        "INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor)"
        " VALUES (1, 'adjustment', -1, -81, 'nobody')",
    )
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
