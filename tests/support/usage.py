"""Usage of any time, written as the product writes it, and summed without any sums."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tokenbalance.books.reports import Group, Sums, UsageQuery, usage_by
from tokenbalance.books.reports.period import request_id_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from tests.support.books import Holder
    from tokenbalance.books.reports import UsageRow
    from tokenbalance.database.connections import Pool, Sessions

    Groups = dict[tuple[object, ...], Sums]

_USE = """
INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id, hold, total,
                    quantities, endpoint, model, started_at, created_at, actor, estimated)
VALUES ($1, 'charge', 'settled', -$4::bigint, 0, $2, $3, $4, $4, $7, '/chat/completions', $5, $6,
        $6, 'proxy', $8)
"""
_VOID = """
INSERT INTO ledger (account_id, kind, state, amount, request_id, key_id, hold, endpoint, started_at,
                    created_at, actor)
VALUES ($1, 'void', 'voided', 0, $2, $3, 5, '/chat/completions', $4, $4, 'proxy')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One request that was charged."""

    tokens: int = 10
    model: str | None = "gpt-4o-mini"
    at: datetime | None = None
    """None for now."""
    more: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of the tokens, all of them input: how many are of which other kind."""
    estimated: bool = False


def request_id_of(moment: datetime) -> str:
    """Name a request as the proxy would have at this moment."""
    return request_id_at(moment) + os.urandom(10).hex()


async def use(pool: Pool, holder: Holder, used: Used) -> str:
    """Write a request, without a ledger entry; gives its id."""
    at = used.at or await pool.fetchval("SELECT clock_timestamp()")
    request_id = request_id_of(at)
    quantities = json.dumps({"input": used.tokens, **used.more})
    await pool.execute(
        _USE,
        holder.account_id,
        request_id,
        holder.key_id,
        used.tokens,
        used.model,
        at,
        quantities,
        used.estimated,
    )
    return request_id


async def void(pool: Pool, holder: Holder, at: datetime) -> str:
    """Write a request that cost nothing; gives its id."""
    request_id = request_id_of(at)
    await pool.execute(_VOID, holder.account_id, request_id, holder.key_id, at)
    return request_id


async def summed_directly(pool: Pool, query: UsageQuery) -> Groups:
    """Group usage as the query says, from the records alone."""
    records = await pool.fetch(
        "SELECT l.*, a.user_id FROM ledger l JOIN accounts a ON a.id = l.account_id"
        " WHERE l.kind = 'charge' OR l.kind = 'adjustment' AND l.request_id IS NOT NULL"
        " ORDER BY l.id"
    )
    ends = {record["request_id"]: record for record in records if record["state"]}
    groups: dict[tuple[object, ...], list[Sums]] = {}
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
        groups.setdefault(name, []).append(_sums(record, ends[record["request_id"]]))
    if not query.groups:
        groups.setdefault((), [])
    summed = {name: _added(sums) for name, sums in groups.items()}
    return {name: sums for name, sums in summed.items() if sums != Sums() or not query.groups}


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


def _sums(record: asyncpg.Record, end: asyncpg.Record) -> Sums:
    """What one row is, or what it changes as a correction; a rerate changes credits only."""
    own = {
        "quantities": json.loads(record["quantities"] or "{}"),
        "total": record["total"],
        "charge": -record["amount"],
        "overrun": record["overrun"],
    }
    if record["state"]:
        overruns, estimated = record["overrun"] > 0, record["estimated"]
        return Sums(requests=1, overruns=int(overruns), estimated=int(estimated), **own)
    if record["rates"] is not None:
        return Sums(**own)
    overran, overruns = end["overrun"] > 0, end["overrun"] + record["overrun"] > 0
    estimated = int(record["estimated"]) - int(end["estimated"])
    return Sums(overruns=int(overruns) - int(overran), estimated=estimated, **own)


def _added(sums: list[Sums]) -> Sums:
    quantities: Counter[str] = Counter()
    for each in sums:
        quantities.update(each.quantities)
    names = [each.name for each in fields(Sums) if each.name != "quantities"]
    return Sums(
        quantities={kind: number for kind, number in quantities.items() if number},
        **{name: sum(getattr(each, name) for each in sums) for name in names},
    )
