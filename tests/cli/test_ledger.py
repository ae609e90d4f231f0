from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from tests.support.books import create_holder, placed
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


async def test_sound_books_are_one_line_and_exit_0(cli: Cli, pool: Pool) -> None:
    _ = await create_holder(pool, 1000)
    response = cli("ledger", "verify")
    assert response.code == 0
    assert response.out == "ok: 1 account, 1 entry, 0 open holds\n"
    assert cli.json("ledger", "verify") == {
        "ok": True,
        "accounts": 1,
        "entries": 1,
        "open_holds": 0,
        "violations": [],
    }


async def test_broken_books_are_a_line_each_and_exit_1(cli: Cli, pool: Pool) -> None:
    one, other = await create_holder(pool, 1000), await create_holder(pool, 7)
    async with pool.acquire() as connection, connection.transaction():
        # As a superuser may: nobody else gets past the trigger.
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "UPDATE ledger SET amount = 999 WHERE account_id = $1", one.account_id
        )
        await connection.execute("UPDATE accounts SET held = 3 WHERE id = $1", other.account_id)

    response = cli("ledger", "verify")
    as_json = cli("ledger", "verify", "--json")

    assert (response.code, as_json.code) == (1, 1)
    lines = response.out.splitlines()
    assert lines == [
        f"account {one.account_id}: balance is 1000, its entries add up to 999",
        f"account {other.account_id}: held is 3, its open holds add up to 0",
        (
            f"entry 1 of account {one.account_id}: balance_after is 1000,"
            " 0 before it and its amount make 999"
        ),
    ]
    report = orjson.loads(as_json.out)
    assert (report["ok"], report["violations"]) == (False, lines)


async def test_a_request_is_refunded_and_the_ledger_tells_why(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, "tb_1", 600)
    assert await Book(pool).settle(hold, Usage(total=512))

    part = cli.json("ledger", "refund", "tb_1", "--amount", "12", "--note", "a poor answer")
    rest = cli("ledger", "refund", "tb_1")

    assert rest.code == 0
    head, entry = rest.out.splitlines()
    assert head.split()[2:5] == ["kind", "amount", "balance_after"]
    assert entry.split()[3:] == ["refund", "500", "1,000", "no", "cli", "tb_1"]
    assert part.pop("created_at")
    assert part == {
        "id": 3,
        "kind": "refund",
        "amount": 12,
        "balance_after": 500,
        "request_id": "tb_1",
        "actor": "cli",
        "note": "a poor answer",
        "estimated": False,
    }
    assert cli.json("ledger", "verify")["ok"]


async def test_what_cannot_be_refunded_is_refused_in_one_line(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    hold = await placed(Book(pool), holder, "tb_1", 600)
    assert await Book(pool).settle(hold, Usage(total=512))
    _ = await placed(Book(pool), holder, "tb_2", 100)

    assert "no request has the id 'tb_0'" in cli.refused("ledger", "refund", "tb_0")
    assert "was never charged" in cli.refused("ledger", "refund", "tb_2")
    assert "only 512 credits" in cli.refused("ledger", "refund", "tb_1", "--amount", "513")
    assert "at least 1 credit" in cli.refused("ledger", "refund", "tb_1", "--amount", "-1")
    assert await pool.fetchval("SELECT count(*) FROM ledger") == 2
