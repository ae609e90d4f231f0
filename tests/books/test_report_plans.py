"""How reports read large books: by an index, as much as a page shows, and nothing sorted whole.

Each report is run in books with many requests and accounts, and the plan of each of its statements
is looked at. No test tells how long it takes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import event

from tests.support import postgres
from tokenbalance.books.reports import (
    EntryQuery,
    Group,
    Period,
    RequestQuery,
    UsageQuery,
    entries_page,
    explain,
    export_entries,
    export_usage,
    find_request,
    overview,
    requests_page,
    usage_by,
)
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.database.connections import open_sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.postgres import EmbeddedPostgres

    Reading = Callable[[AsyncSession], Awaitable[object]]

REQUESTS = 20_000
SORTED_MAX = 6_000
"""Rows that a sort may have at most: a page's search, or groups of sums."""
BOOKS = f"""
SET session_replication_role = replica;
INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 4000) n;
INSERT INTO accounts (user_id) SELECT id FROM users ORDER BY id;
INSERT INTO api_keys (account_id, prefix, secret_sha256)
SELECT id, '', sha256(id::text::bytea) FROM accounts ORDER BY id;
INSERT INTO ledger (account_id, kind, state, amount, balance_after, request_id, key_id, hold, total,
                    quantities, endpoint, model, started_at, created_at, actor)
SELECT account, CASE WHEN n % 33 = 0 THEN 'void' ELSE 'charge' END,
       CASE WHEN n % 33 = 0 THEN 'voided' WHEN n % 99 = 1 THEN 'expired' ELSE 'settled' END,
       CASE WHEN n % 33 = 0 THEN 0 ELSE -7 END, CASE WHEN n % 33 > 0 THEN 5 END,
       'tb_' || lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || lpad(n::text, 20),
       account, 9, 7, CASE WHEN n % 33 > 0 THEN '{{"input": 3, "output": 4}}'::jsonb END,
       '/chat/completions', 'model ' || n % 3, at, at, 'proxy'
  FROM (SELECT n, 1 + (CASE WHEN n % 3 = 0 THEN n % 9 ELSE n % 4000 END) AS account,
               now() - interval '12 days' * (1 - n / {REQUESTS}.0) AS at
          FROM generate_series(1, {REQUESTS}) n) each
 ORDER BY n;
INSERT INTO ledger (account_id, kind, amount, balance_after, actor)
SELECT id, 'grant', 7, 7, 'cli' FROM accounts WHERE id <= 100;
INSERT INTO open_holds (request_id, account_id, key_id, amount, endpoint)
SELECT 'tb_ffff' || n, n, n, 1, '/chat/completions' FROM generate_series(1, 50) n;
ANALYZE ledger, accounts, api_keys, users, open_holds;
SELECT brin_summarize_new_values('ix_ledger_created_at');
"""  # noqa: S608 - made of constants
SUMMED = "ANALYZE usage_days, usage_day_kinds, usage_totals, usage_total_kinds;"
HEAVY = 1
NOW = datetime.now(UTC)
LATELY = Period(NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=10))
TO_THE_SECOND = Period(NOW - timedelta(days=10), NOW - timedelta(days=1))
BY_DAY = frozenset([Group.DAY, Group.MODEL])

READINGS: dict[str, Reading] = {
    "requests of one": lambda session: requests_page(session, RequestQuery(HEAVY)),
    "requests of one, a period": lambda session: requests_page(
        session, RequestQuery(HEAVY, period=TO_THE_SECOND)
    ),
    "requests": lambda session: requests_page(session, RequestQuery()),
    "requests, voided": lambda session: requests_page(session, RequestQuery(state="voided")),
    "requests, none of them": lambda session: requests_page(session, RequestQuery(overrun=True)),
    "entries of one": lambda session: entries_page(session, EntryQuery(HEAVY, newest_first=True)),
    "entries of one, a period": lambda session: entries_page(
        session, EntryQuery(HEAVY, period=TO_THE_SECOND)
    ),
    "entries": lambda session: entries_page(session, EntryQuery(newest_first=True)),
    "grants": lambda session: entries_page(session, EntryQuery(kinds=("grant",))),
    "usage of one": lambda session: usage_by(session, UsageQuery(HEAVY, BY_DAY, LATELY)),
    "usage of one, to the second": lambda session: usage_by(
        session, UsageQuery(HEAVY, BY_DAY, TO_THE_SECOND)
    ),
    "usage by day": lambda session: usage_by(session, UsageQuery(None, BY_DAY, LATELY)),
    "usage by user": lambda session: usage_by(
        session, UsageQuery(None, frozenset([Group.USER]), LATELY)
    ),
    "usage by user and day": lambda session: usage_by(
        session, UsageQuery(None, frozenset([Group.USER, Group.DAY]), LATELY)
    ),
    "usage of one by user": lambda session: usage_by(
        session, UsageQuery(HEAVY, frozenset([Group.USER]), LATELY)
    ),
    "usage of some keys": lambda session: usage_by(
        session, UsageQuery(HEAVY, BY_DAY, LATELY, key_ids=(HEAVY, 2))
    ),
    "requests of some keys": lambda session: requests_page(
        session, RequestQuery(HEAVY, key_ids=(HEAVY, 2))
    ),
    "entries of some keys": lambda session: entries_page(
        session, EntryQuery(HEAVY, newest_first=True, key_ids=(HEAVY, 2))
    ),
    "overview": lambda session: overview(session, 10),
}


class Books:
    """Large books, and the statements that were run on them."""

    def __init__(self, sessions: Sessions, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.sessions = sessions
        self.connection = connection
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    def note(self, *run: Any) -> None:
        _, _, statement, parameters, *_ = run
        self.statements.append((statement, parameters))

    async def plans(self) -> list[dict[str, Any]]:
        """Explain what was run since the last call, as it runs."""
        found: list[dict[str, Any]] = []
        for statement, parameters in self.statements:
            if not statement.startswith("SET"):
                explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"
                plan = json.loads(await self.connection.fetchval(explained, *parameters))
                found += nodes(plan[0]["Plan"])
        self.statements.clear()
        return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.fixture(scope="module")
async def books(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[Books]:
    dsn = await postgres.clone(cluster, template)
    connection = await asyncpg.connect(dsn)
    async with open_sessions(dsn) as sessions:
        await connection.execute(BOOKS)
        await RollUp(sessions).catch_up()
        await connection.execute(SUMMED)
        engine: Connection = sessions.kw["bind"].sync_engine
        books = Books(sessions, connection)
        event.listen(engine, "before_cursor_execute", books.note)
        yield books
    await connection.close()
    await postgres.drop(cluster, dsn)


def judge(plans: list[dict[str, Any]], of_index: int = REQUESTS // 2) -> None:
    """The ledger is never read as a whole, and no sort has more rows than a page looks at."""
    ledger = [node for node in plans if node.get("Relation Name") == "ledger"]
    assert [node for node in ledger if node["Node Type"] == "Seq Scan"] == []
    assert max((read(node) for node in ledger), default=0) <= of_index
    sorts = [node for node in plans if "Sort" in node["Node Type"]]
    assert max((node["Actual Rows"] for node in sorts), default=0) <= SORTED_MAX


def read(node: dict[str, Any]) -> float:
    """Rows that a scan has read each time."""
    passed_over = node.get("Rows Removed by Filter", 0) + node.get(
        "Rows Removed by Index Recheck", 0
    )
    return (node["Actual Rows"] + passed_over) * min(node["Actual Loops"], 1)


@pytest.mark.parametrize("name", READINGS)
async def test_a_report_reads_the_ledger_by_an_index_and_sorts_little(
    books: Books, name: str
) -> None:
    async with books.sessions() as session:
        _ = await READINGS[name](session)
    assert books.statements
    judge(await books.plans())


@pytest.mark.parametrize("period", [LATELY, TO_THE_SECOND])
async def test_usage_of_one_account_is_read_of_its_own_recent_rows(
    books: Books, period: Period
) -> None:
    async with books.sessions() as session:
        _ = await usage_by(session, UsageQuery(HEAVY, BY_DAY, period))
    judge(await books.plans(), of_index=200)


async def test_a_request_is_found_by_its_id_alone(books: Books) -> None:
    request_id = await books.connection.fetchval(
        "SELECT request_id FROM ledger WHERE state = 'expired' LIMIT 1"
    )
    async with books.sessions() as session:
        _ = await explain(session, request_id)
        _ = await find_request(session, request_id[:15], None)
    plans = await books.plans()
    judge(plans, of_index=10)
    used = {node["Index Name"] for node in plans if node.get("Relation Name") == "ledger"}
    assert "uq_ledger_one_end_per_request" in used


async def test_a_batch_of_an_export_reads_no_more_than_its_rows(books: Books) -> None:
    for export in (export_usage, export_entries):
        for account in (None, HEAVY):
            async for _ in export(books.sessions, TO_THE_SECOND, account):
                break
            judge(await books.plans(), of_index=3_000)
