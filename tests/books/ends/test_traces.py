"""How a request went is written with the end of its hold, whichever statement ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.books import Holder, create_holder, end_leases, place, placed
from tests.support.request_rows import REQUESTS
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import UNTRACED, Hold, Purpose, Trace, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool

TRACE = Trace(200, "server_error", "req_1", 12, 34, streamed=True, output_cap=512, capped=True)
USED = Usage({"input": 3, "output": 4}, total=7)


async def traces(pool: Pool, holder: Holder) -> dict[str, Trace]:
    rows = await pool.fetch(
        f"SELECT * FROM {REQUESTS} r WHERE account_id = $1",  # noqa: S608 - a constant
        holder.account_id,
    )
    return {row["request_id"]: Trace(*(row[name] for name in Trace._fields)) for row in rows}


async def test_each_of_many_settled_together_keeps_its_own_trace(book: Book, pool: Pool) -> None:
    holders = [await create_holder(pool, 1000) for _ in range(3)]
    expected = [
        {f"{n}-{m}": TRACE._replace(total_ms=10 * n + m, error_code=None) for m in range(4)}
        for n in range(3)
    ]
    settling = [
        book.settle(await placed(book, holder, request_id, 10), USED, trace)
        for holder, wanted in zip(holders, expected, strict=True)
        for request_id, trace in wanted.items()
    ]
    assert None not in await asyncio.gather(*settling)
    assert [await traces(pool, holder) for holder in holders] == expected


async def test_a_hold_settled_or_voided_alone_keeps_its_trace(pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    book = Book(pool, batch_max=1)
    _ = await book.settle(await placed(book, holder, "settled", 10), USED, TRACE)
    await book.void(await placed(book, holder, "voided", 10), TRACE)
    assert await traces(pool, holder) == {"settled": TRACE, "voided": TRACE}


async def test_the_first_end_of_a_hold_keeps_its_trace(book: Book, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    settled = await placed(book, holder, "settled", 10)
    voided = await placed(book, holder, "voided", 10)
    for trace in (TRACE, UNTRACED):
        _ = await book.settle(settled, USED, trace)
        await book.void(voided, trace)
    await book.void(settled, UNTRACED)
    assert await traces(pool, holder) == {"settled": TRACE, "voided": TRACE}


async def test_an_expired_hold_has_a_trace_when_its_process_comes_back(
    book: Book, pool: Pool
) -> None:
    holder = await create_holder(pool, 1000)
    holds = [await placed(book, holder, name, 10) for name in ("settled", "voided")]
    await end_leases(pool)
    for hold in holds:
        assert await book.expire(hold, replace(USED, estimated=True))
    assert await traces(pool, holder) == dict.fromkeys(("settled", "voided"), UNTRACED)
    _ = await book.settle(holds[0], USED, TRACE)
    await book.void(holds[1], TRACE)
    assert await traces(pool, holder) == {"settled": TRACE, "voided": TRACE}


async def test_a_hold_that_was_placed_after_all_is_voided_with_its_trace(
    book: Book, pool: Pool
) -> None:
    holder = await create_holder(pool, 1000)
    assert await place(book, holder, "placed", 10) == Hold("placed", holder.account_id, 10)
    purpose = Purpose("placed", "/chat/completions", None)
    await book.leave_tombstone(holder.caller, purpose, TRACE)
    assert await traces(pool, holder) == {"placed": TRACE}
