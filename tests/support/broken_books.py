"""Books with holds that ended in every way, and what breaks each of their invariants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.model import CLI, Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions


async def place(pool: Pool, holder: Holder, request_id: str, amount: int) -> Hold:
    hold = await Book(pool).place(
        holder.caller, Purpose(request_id, "/models", None), Claim(amount, amount)
    )
    assert hold
    return hold


async def settle(pool: Pool, hold: Hold, total: int) -> None:
    assert await Book(pool).settle(hold, Usage({"input": total}, total=total))


async def expire(pool: Pool, hold: Hold, total: int) -> None:
    usage = Usage({"input": total}, total=total, estimated=True)
    assert await Book(pool).expire(hold, usage, orphaned=True)


async def give_back(sessions: Sessions, request_id: str, amount: int | None) -> None:
    async with sessions.begin() as session:
        _ = await refund(session, request_id, amount, Cause(CLI))


async def break_books(pool: Pool, *statements: str) -> None:
    """Change rows as only a superuser can: past the ledger's trigger and the foreign keys."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)


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
    """  # noqa: S608 - written in these tests


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
        [entry("adjustment", -770 + 100 - 30 - 5 - 1)],
        ["account 1: balance is 64, held is 100, the lowest balance allowed is 65"],
    ),
}
