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


# The ledger of account 1: 1 grant, 2 charge of tb_1, 3 void of tb_2, 4 charge of tb_4, 5 of tb_5, 6
# of tb_6, 7 its correction, 8 void of tb_7, 9 charge of tb_8, 10 its refund, 11 charge of tb_9, 12
# its refund, 13 its correction.
def entry(kind: str, amount: int, request_id: str | None = None) -> str:
    """Add an entry to account 1 as somebody would who knows how balances follow."""
    names = "NULL" if request_id is None else f"'{request_id}'"
    return f"""
        WITH account AS (
            UPDATE accounts SET balance = balance + {amount} WHERE id = 1 RETURNING balance
        )
        INSERT INTO ledger (account_id, kind, amount, balance_after, request_id, actor)
        SELECT 1, '{kind}', {amount}, balance, {names}, 'nobody' FROM account
    """  # noqa: S608 - written in these tests


def end(kind: str, state: str, request_id: str, amount: int = 0, of: int = 1) -> str:
    """Add the end of a request to an account, as somebody would who knows how balances follow."""
    after = "balance" if kind == "charge" else "NULL"
    return f"""
        WITH account AS (
            UPDATE accounts SET balance = balance + {amount} WHERE id = {of} RETURNING id, balance
        )
        INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id,
                            hold, total, endpoint, started_at, actor)
        SELECT id, '{kind}', '{state}', {amount}, {after}, '{request_id}', 1,
               100, {-amount}, '', now(), 'nobody' FROM account
    """  # noqa: S608 - written in these tests


def changed(request_id: str, change: str, kind: str = "charge") -> str:
    """Change an entry of a request."""
    return f"UPDATE ledger SET {change} WHERE request_id = '{request_id}' AND kind = '{kind}'"  # noqa: S608 - written in these tests


def without(table: str, *constraints: str) -> str:
    """Lose constraints, as a restored backup may."""
    drops = ", ".join(f"DROP CONSTRAINT ck_{table}_{name}" for name in constraints)
    return f"ALTER TABLE {table} {drops}"


ONE_END = "DROP INDEX uq_ledger_one_end_per_request"
BROKEN = {
    "a balance that nobody entered": (
        ["UPDATE accounts SET balance = balance + 1 WHERE id = 2"],
        ["account 2: balance is 1, its entries add up to 0"],
    ),
    "a held sum without its hold": (
        ["UPDATE accounts SET held = 0 WHERE id = 1"],
        ["account 1: held is 0, its open holds add up to 100"],
    ),
    "a held sum that counts a hold twice": (
        ["UPDATE accounts SET held = 200 WHERE id = 1"],
        ["account 1: held is 200, its open holds add up to 100"],
    ),
    "an account that is gone": (
        ["DELETE FROM accounts WHERE id = 1"],
        ["account 1: does not exist, but has 11 entries and 1 open holds"],
    ),
    "a key that is gone": (
        ["DELETE FROM api_keys WHERE id = 1", changed("tb_1", "key_id = 2")],
        [
            *(
                f"entry {number} of account 1: its key 1 does not exist"
                for number in (3, 4, 5, 6, 7, 8, 9, 11, 13)
            ),
            "hold tb_3 of account 1: its key 1 does not exist",
            "hold tb_7 of account 1: its key 1 does not exist",
        ],
    ),
    "an entry that was changed, with the balance": (
        [
            "UPDATE ledger SET amount = 2000 WHERE id = 1",
            "UPDATE accounts SET balance = balance + 1000 WHERE id = 1",
        ],
        ["entry 1 of account 1: balance_after is 1000, 0 before it and its amount make 2000"],
    ),
    "an entry that was taken out of the middle, with the balance": (
        [
            "DELETE FROM ledger WHERE id = 2",
            "UPDATE accounts SET balance = balance + 60 WHERE id = 1",
        ],
        ["entry 4 of account 1: balance_after is 810, 1000 before it and its amount make 870"],
    ),
    "a balance after the last entry that is wrong": (
        ["UPDATE ledger SET balance_after = 771 WHERE id = 13"],
        ["entry 13 of account 1: balance_after is 771, 730 before it and its amount make 770"],
    ),
    "an amount that changes no balance": (
        [
            without("ledger", "balance_after_known"),
            "UPDATE accounts SET balance = balance - 40 WHERE id = 1",
            "UPDATE ledger SET balance_after = NULL WHERE id = 13",
        ],
        [
            (
                "entry 13 of account 1: is a adjustment of 40 credits for request tb_9,"
                " which is not ended by it"
            )
        ],
    ),
    "a corrected request whose end is gone": (
        [
            "DELETE FROM ledger WHERE id = 6",
            "UPDATE accounts SET balance = balance + 30 WHERE id = 1",
            "UPDATE ledger SET balance_after = balance_after + 30 WHERE id > 6",
        ],
        ["entry 7 of account 1: names request tb_6, which has not ended"],
    ),
    "a refund of a request that never was": (
        [entry("refund", 5, "tb_0")],
        ["entry 14 of account 1: refunds request tb_0, which has not ended"],
    ),
    "one request of two accounts": (
        [end("void", "voided", "tb_1", of=2)],
        ["request tb_1: is there 2 times: settled of account 1, voided of account 2"],
    ),
    "one request with two ends": (
        [ONE_END, end("charge", "settled", "tb_1", -60)],
        ["request tb_1: is there 2 times: settled of account 1, settled of account 1"],
    ),
    "an open hold of a request that has ended": (
        [
            "UPDATE open_holds SET request_id = 'tb_1' WHERE request_id = 'tb_3'",
        ],
        ["request tb_1: is there 2 times: open of account 1, settled of account 1"],
    ),
    "one request with open holds of two accounts": (
        [
            (
                "INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint)"
                " VALUES (2, 'tb_3', 2, 5, '')"
            ),
            "UPDATE accounts SET held = 5, balance = 5 WHERE id = 2",
            (
                "INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
                " VALUES (2, 'grant', 5, 5, '')"
            ),
        ],
        ["request tb_3: is there 2 times: open of account 1, open of account 2"],
    ),
    "a voided request that was charged": (
        [without("ledger", "state_fits_kind"), changed("tb_1", "state = 'voided'")],
        [("entry 2 of account 1: is a charge of -60 credits for request tb_1, which is voided")],
    ),
    "a void that says it was settled": (
        [without("ledger", "state_fits_kind"), changed("tb_2", "state = 'settled'", "void")],
        ["entry 3 of account 1: is a void of 0 credits for request tb_2, which is settled"],
    ),
    "a charge that ends no request": (
        [without("ledger", "state_fits_kind"), changed("tb_1", "state = NULL")],
        [
            "entry 2 of account 1: names request tb_1, which has not ended",
            (
                "entry 2 of account 1: is a charge of -60 credits for request tb_1,"
                " which is not ended by it"
            ),
        ],
    ),
    "an end whose hold is not known": (
        [without("ledger", "end_has_its_request"), changed("tb_1", "hold = NULL")],
        [("entry 2 of account 1: is a charge of -60 credits for request tb_1, which is settled")],
    ),
    "a charge that is not what was used": (
        [changed("tb_1", "total = 61")],
        ["request tb_1 of account 1: took 60 credits, used 61 tokens, overrun 0 of a hold of 100"],
    ),
    "an overrun that is hidden": (
        [changed("tb_4", "overrun = 0")],
        [
            (
                "request tb_4 of account 1: took 130 credits, used 130 tokens,"
                " overrun 0 of a hold of 100"
            )
        ],
    ),
    "an overrun that was none": (
        [changed("tb_1", "overrun = 1")],
        ["request tb_1 of account 1: took 60 credits, used 60 tokens, overrun 1 of a hold of 100"],
    ),
    "a charge and a correction that do not make what was used": (
        [changed("tb_6", "total = 6", "adjustment")],
        ["request tb_6 of account 1: took 35 credits, used 36 tokens, overrun 0 of a hold of 100"],
    ),
    "a correction with an overrun that was none": (
        [changed("tb_6", "overrun = 1", "adjustment")],
        ["request tb_6 of account 1: took 35 credits, used 35 tokens, overrun 1 of a hold of 100"],
    ),
    "a settled request that was corrected": (
        [entry("adjustment", -5, "tb_1"), changed("tb_1", "total = 5", "adjustment")],
        ["request tb_1 of account 1: is settled, with 1 corrections"],
    ),
    "a voided request that was corrected": (
        [entry("adjustment", -5, "tb_2")],
        ["request tb_2 of account 1: is voided, with 1 corrections"],
    ),
    "two corrections of one request": (
        [
            "DROP INDEX uq_ledger_one_usage_correction_per_request",
            entry("adjustment", -1, "tb_6"),
            "UPDATE ledger SET total = 1 WHERE id = 14",
        ],
        ["request tb_6 of account 1: is expired, with 2 corrections"],
    ),
    "the charge of an expired hold that does not say it is an estimate": (
        [changed("tb_6", "estimated = false")],
        ["request tb_6 of account 1: is expired, but its charge is not marked as estimated"],
    ),
    "refunds that are more than the charge": (
        [entry("refund", 26, "tb_8")],
        ["request tb_8 of account 1: took 40 credits, and 41 were refunded"],
    ),
    "a refund before the correction that is more than the charge": (
        [
            "UPDATE ledger SET amount = 51, balance_after = 731 WHERE id = 12",
            "UPDATE ledger SET balance_after = 771 WHERE id = 13",
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
        [
            (
                "entry 14 of account 1: is a refund of 5 credits for request unknown,"
                " which is not ended by it"
            )
        ],
    ),
    "a refund that takes": (
        [entry("refund", -5, "tb_8")],
        [
            (
                "entry 14 of account 1: is a refund of -5 credits for request tb_8,"
                " which is not ended by it"
            )
        ],
    ),
    "a charge of no request": (
        [
            without("ledger", "end_has_its_request", "state_fits_kind"),
            entry("charge", -5),
        ],
        [
            (
                "entry 14 of account 1: is a charge of -5 credits for request unknown,"
                " which is not ended by it"
            )
        ],
    ),
    "a charge that gives": (
        [without("ledger", "state_fits_kind"), end("charge", "settled", "tb_0", 5)],
        ["entry 14 of account 1: is a charge of 5 credits for request tb_0, which is settled"],
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
