"""Requests that were charged, and what becomes of them with another card."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.books.ledger.rerate import Rerate, RerateQuery
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.reports import EVER
from tokenbalance.model import CLI, PLAIN, Claim, Conditions, Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.books import Holder
    from tokenbalance.books.ledger.rerate_totals import Totals
    from tokenbalance.books.reports import Period
    from tokenbalance.database.connections import Pool, Sessions

MODEL = "gpt-6-luna"
USED = Usage({"input": 10, "output": 5}, 15)
_numbers = count(1)


def card(input_rate: str = "1", output_rate: str = "1", more: str = "", model: str = MODEL) -> str:
    """Write a card of version 2 with one row."""
    return f"""
version = 2

[[models]]
match = "{model}"
input = {input_rate}
output = {output_rate}
{more}
"""


class Asked(NamedTuple):
    """What a request was charged by."""

    card: str | None = None
    """None: a credit a token."""
    conditions: Conditions = PLAIN
    model: str | None = MODEL


A_CREDIT_A_TOKEN = Asked()


async def placed(
    pool: Pool, holder: Holder, asked: Asked = A_CREDIT_A_TOKEN, amount: int = 100
) -> Hold:
    """Place a hold with the rates of a card."""
    rates = None
    if asked.card is not None:
        rates = read_rate_card(asked.card).rates_for(asked.model or "", asked.conditions)
    purpose = Purpose(f"tb_{next(_numbers):06}", "/chat/completions", asked.model, rates)
    hold = await Book(pool).place(holder.caller, purpose, Claim(amount, amount))
    assert hold is not None
    return hold


async def charged(
    pool: Pool,
    holder: Holder,
    usage: Usage = USED,
    asked: Asked = A_CREDIT_A_TOKEN,
    amount: int = 100,
) -> Hold:
    """Place and settle a hold."""
    hold = await placed(pool, holder, asked, amount)
    assert await Book(pool).settle(hold, usage)
    return hold


async def expired(
    pool: Pool, holder: Holder, usage: Usage = USED, asked: Asked = A_CREDIT_A_TOKEN
) -> Hold:
    """Place a hold, and charge an estimate since its process is gone."""
    hold = await placed(pool, holder, asked)
    estimate = Usage(usage.quantities, usage.total, estimated=True)
    assert await Book(pool).expire(hold, estimate, orphaned=True)
    return hold


async def rerated(
    sessions: Sessions,
    text: str,
    *,
    period: Period = EVER,
    post: bool = True,
    account_id: int | None = None,
) -> Totals:
    """Give all requests the prices of a card."""
    return await new_rerate(sessions, text, period=period, post=post, account_id=account_id).run()


def new_rerate(
    sessions: Sessions,
    text: str,
    *,
    period: Period = EVER,
    post: bool = True,
    account_id: int | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Rerate:
    """Prepare a rerate."""
    query = RerateQuery(
        period=period,
        card=read_rate_card(text),
        cause=Cause(CLI, "prices of card.toml"),
        account_id=account_id,
    )
    return Rerate(sessions, query, post=post, report=report)


async def refunded(sessions: Sessions, hold: Hold, amount: int | None = None) -> None:
    """Give a charge back, or a part of it."""
    async with sessions.begin() as session:
        _ = await refund(session, hold.request_id, amount, Cause(CLI))


async def later_rows(pool: Pool, hold: Hold) -> list[tuple[str, int, bool]]:
    """Read what came after the end of a request: kind, amount, and whether it has rates."""
    rows = await pool.fetch(
        "SELECT kind, amount, rates IS NOT NULL FROM ledger"
        " WHERE request_id = $1 AND state IS NULL ORDER BY id",
        hold.request_id,
    )
    return [tuple(row) for row in rows]


async def cost_of(pool: Pool, hold: Hold) -> int:
    """Read what a request costs, without refunds."""
    cost: int = await pool.fetchval(
        "SELECT -sum(amount)::bigint FROM ledger WHERE request_id = $1 AND kind <> 'refund'",
        hold.request_id,
    )
    return cost


async def started_on(pool: Pool, hold: Hold, day: str) -> None:
    """Let the hold have been placed on a day."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "UPDATE ledger SET started_at = $2 WHERE request_id = $1",
            hold.request_id,
            datetime.fromisoformat(day).replace(tzinfo=UTC),
        )


async def newest_rates(pool: Pool, hold: Hold) -> dict[str, object]:
    """Read the rates of the last row of a request that has any."""
    text: str = await pool.fetchval(
        "SELECT rates FROM ledger WHERE request_id = $1 AND rates IS NOT NULL"
        " ORDER BY id DESC LIMIT 1",
        hold.request_id,
    )
    document: dict[str, object] = json.loads(text)
    return document
