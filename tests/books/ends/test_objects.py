"""Objects that a response names become the caller's with its charge, however the hold ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.books.ends.test_forgotten import FORGET
from tests.support.batches import NAMES
from tests.support.books import account_of, create_holder, placed
from tokenbalance.database import statements
from tokenbalance.model import Hold, Usage
from tokenbalance.model.objects import Found
from tokenbalance.owners.lines import Written
from tokenbalance.owners.registry import record_written
from tokenbalance.owners.rows import rows_of

if TYPE_CHECKING:
    import asyncpg

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool

USED = Usage({"input": 5, "output": 2}, 7)


def rows(*names: str) -> str:
    return rows_of(Found("response", name, tokens=7, snapshot='{"id": 1}') for name in names)


async def owners_of(pool: Pool) -> dict[str, tuple[int, int | None]]:
    found = await pool.fetch("SELECT object_id, account_id, key_id FROM objects")
    return {row[0]: (row[1], row[2]) for row in found}


async def settle(book: Book, hold: Hold, *names: str) -> int | None:
    charge = await book.settle(hold, USED, objects=rows(*names) if names else None)
    return None if charge is None else charge.amount


async def test_they_are_in_the_statement_of_the_charge_however_many_share_it(
    pool: Pool, book: Book, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await create_holder(pool, 100)
    holds = [
        await placed(book, who, f"tb_{number}", 10)
        for number, who in enumerate([holder, other, holder, holder, holder])
    ]
    sent: list[str] = []
    fetch = type(pool).fetch

    async def watch(
        self: Pool, statement: str, *arguments: object, deadline_s: float = 9
    ) -> list[asyncpg.Record]:
        sent.append(NAMES.get(statement, ""))
        return await fetch(self, statement, *arguments, deadline_s=deadline_s)

    monkeypatch.setattr(type(pool), "fetch", watch)
    assert await settle(book, holds[4]) == 7
    charged = await asyncio.gather(
        settle(book, holds[0], "resp_0", "same"), settle(book, holds[1], "resp_1", "same")
    )
    charged += await asyncio.gather(settle(book, holds[2], "resp_2"), settle(book, holds[3]))
    assert charged == [7, 7, 7, 7]
    assert list(filter(None, sent)) == ["SETTLE_MANY_FULL", "SETTLE_MANY_OF_ONE_FULL"]
    owners = await owners_of(pool)
    assert owners.pop("same")[0] in {holder.account_id, other.account_id}
    assert owners == {
        "resp_0": (holder.account_id, holder.key_id),
        "resp_1": (other.account_id, other.key_id),
        "resp_2": (holder.account_id, holder.key_id),
    }


async def test_a_hold_that_the_database_forgot_brings_them_too(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "tb_1", 10)
    await pool.execute(FORGET, "tb_1")
    assert await settle(book, hold, "resp_1") == 7
    assert await owners_of(pool) == {"resp_1": (holder.account_id, holder.key_id)}


@pytest.mark.parametrize("end", ["voided", "settled", "expired"])
async def test_where_the_hold_is_not_open_any_more_they_are_recorded_without_it(
    pool: Pool, book: Book, holder: Holder, end: str
) -> None:
    hold = await placed(book, holder, "tb_1", 10)
    match end:
        case "voided":
            await book.void(hold)
        case "settled":
            await settle(book, hold)
        case _:
            assert await book.expire(hold, Usage({"input": 9}, 9, estimated=True), orphaned=True)
    assert await settle(book, hold, "resp_1") == (None if end == "voided" else 7)
    assert await owners_of(pool) == {"resp_1": (holder.account_id, holder.key_id)}
    assert (await account_of(pool, holder)).balance == (100 if end == "voided" else 93)


async def test_one_that_somebody_else_has_stays_theirs_and_the_charge_goes_on(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    assert await settle(book, await placed(book, other, "tb_1", 10), "resp_1") == 7
    assert await settle(book, await placed(book, holder, "tb_2", 10), "resp_1", "resp_2") == 7
    assert await owners_of(pool) == {
        "resp_1": (other.account_id, other.key_id),
        "resp_2": (holder.account_id, holder.key_id),
    }


async def test_one_that_was_deleted_while_its_response_went_on_stays_deleted(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "tb_1", 10)
    written = Written(holder.account_id, holder.key_id, rows("resp_1"))
    await record_written(pool, [written], are_made=True)
    await pool.execute(statements.DELETE_OBJECT, holder.account_id, "resp_1", "response")
    assert await settle(book, hold, "resp_1") == 7
    assert await pool.fetchval("SELECT deleted_at IS NOT NULL FROM objects")
