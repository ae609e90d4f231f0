"""Usage of any time, written as the product writes it, and summed without any sums."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tokenbalance.books.reports import Group, Sums, UsageQuery, usage_by
from tokenbalance.books.reports.period import request_id_at

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.reports import UsageRow
    from tokenbalance.database.connections import Pool, Sessions

    Groups = dict[tuple[object, ...], Sums]

_USE = """
WITH hold AS (
    INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, model, state, created_at,
                       ended_at)
    VALUES ($1, $2, $3, $4, '/chat/completions', $5, 'settled', $6, $6)
    RETURNING account_id, request_id
)
INSERT INTO usage (account_id, request_id, input, cached_input, output, reasoning, audio_input,
                   audio_output, total, charge, overrun, estimated, created_at)
SELECT account_id, request_id, $4, 0, 0, 0, 0, 0, $4, $4, 0, false, $6 FROM hold
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One request that was charged."""

    tokens: int = 10
    model: str | None = "gpt-4o-mini"
    at: datetime | None = None
    """None for now."""


def request_id_of(moment: datetime) -> str:
    """Name a request as the proxy would have at this moment."""
    return request_id_at(moment) + os.urandom(10).hex()


async def use(pool: Pool, holder: Holder, used: Used) -> str:
    """Write a request, without a ledger entry; gives its id."""
    at = used.at or await pool.fetchval("SELECT clock_timestamp()")
    request_id = request_id_of(at)
    await pool.execute(
        _USE, holder.account_id, request_id, holder.key_id, used.tokens, used.model, at
    )
    return request_id


async def void(pool: Pool, holder: Holder, at: datetime) -> str:
    """Write a request that cost nothing; gives its id."""
    request_id = request_id_of(at)
    await pool.execute(
        "INSERT INTO holds (account_id, request_id, key_id, amount, endpoint, state, created_at,"
        " ended_at) VALUES ($1, $2, $3, 5, '/chat/completions', 'voided', $4, $4)",
        holder.account_id,
        request_id,
        holder.key_id,
        at,
    )
    return request_id


async def summed_directly(pool: Pool, query: UsageQuery) -> Groups:
    """Group usage as the query says, from the records alone."""
    records = await pool.fetch(
        "SELECT u.*, h.model, h.key_id, a.user_id FROM usage u JOIN holds h USING (account_id,"
        " request_id) JOIN accounts a ON a.id = u.account_id"
    )
    groups: dict[tuple[object, ...], Counter[str]] = {}
    for record in records:
        if query.account_id not in {None, record["account_id"]}:
            continue
        if not query.period.start <= record["created_at"] < query.period.end:
            continue
        values = {
            Group.DAY: record["created_at"].astimezone(UTC).date(),
            Group.USER: record["user_id"],
            Group.KEY: record["key_id"],
            Group.MODEL: record["model"],
        }
        name = tuple(values[group] for group in Group if group in query.groups)
        groups.setdefault(name, Counter()).update(_amounts(record))
    if not query.groups:
        groups.setdefault((), Counter())
    return {name: Sums(**sums) for name, sums in groups.items()}


async def summed_by_report(sessions: Sessions, query: UsageQuery, limit: int = 3) -> Groups:
    """Group usage as people get it, page by page; no group comes twice, all come in order."""
    rows: list[UsageRow] = []
    after: str | None = None
    while True:
        async with sessions.begin() as session:
            page = await usage_by(session, query, after, limit)
        rows += page.data
        after = page.next
        if after is None:
            break
    names = [_name(row, query) for row in rows]
    assert len(set(names)) == len(names)
    return dict(zip(names, (row.sums for row in rows), strict=True))


def _name(row: UsageRow, query: UsageQuery) -> tuple[object, ...]:
    values: dict[Group, object] = {
        Group.DAY: row.day,
        Group.USER: row.user_id,
        Group.KEY: row.key and row.key.id,
        Group.MODEL: row.model,
    }
    return tuple(values[group] for group in Group if group in query.groups)


def _amounts(record: Any) -> dict[str, int]:
    own = {"requests": 1, "overruns": int(record["overrun"] > 0)}
    own["estimated"] = int(record["estimated"])
    names = [field.name for field in fields(Sums)]
    return {name: own[name] if name in own else record[name] for name in names}
