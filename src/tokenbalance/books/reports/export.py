"""All rows of a period, for files: in batches, each a short statement of its own.

Neither a connection nor a snapshot is held between two batches, so that a client that reads slowly,
or stops reading, costs nothing. Writes nothing.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import func, select, true, tuple_
from sqlalchemy.orm import aliased

from tokenbalance.books.reports.entries import EntryQuery, entry_rows
from tokenbalance.books.reports.ids import ids_of
from tokenbalance.database.tables import Account, ApiKey, HoldRecord, UsageRecord, User

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import ColumnElement, Select

    from tokenbalance.books.reports.period import Period
    from tokenbalance.database.connections import Sessions

Cell: TypeAlias = str | int | bool | datetime | None
Batch: TypeAlias = Sequence[Sequence[Cell]]
"""Rows of a file, as many as one statement reads."""

USAGE_COLUMNS: Final = (
    *("created_at", "request_id", "user", "key_id", "key_name", "endpoint", "model"),
    *("input", "cached_input", "output", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output"),
    *("total", "charge", "overrun", "estimated"),
    *("upstream_status", "first_byte_ms", "total_ms", "streamed"),
)
ENTRY_COLUMNS: Final = (
    *("id", "created_at", "user", "kind", "amount", "balance_after"),
    *("request_id", "actor", "note", "estimated"),
)


_ROWS: Final = 2000
"""Of a batch."""
_KEY: Final = (UsageRecord.account_id, UsageRecord.created_at, UsageRecord.request_id)


async def export_usage(
    sessions: Sessions, period: Period, account_id: int | None = None
) -> AsyncGenerator[Batch]:
    """Read the usage of a period, by account and time; rows are as `USAGE_COLUMNS`.

    Args:
        sessions: each batch opens a session of its own.
        period: when requests were charged.
        account_id: None: all accounts.

    """
    records = select(UsageRecord).where(*_used(period, account_id)).order_by(*_KEY).limit(_ROWS)
    last: tuple[object, ...] | None = None
    while True:
        rows = await _fetch(sessions, _usage(records if last is None else _after(records, last)))
        if rows:
            yield [row[:-1] for row in rows]
        if len(rows) < _ROWS:
            return
        created_at, request_id, *_, account = rows[-1]
        last = (account, created_at, request_id)


async def count_usage(sessions: Sessions, period: Period, account_id: int | None = None) -> int:
    """Count the rows of an export of usage, for a progress display."""
    statement = select(func.count()).select_from(UsageRecord).where(*_used(period, account_id))
    async with sessions() as session:
        return (await session.scalars(statement)).one()


async def export_entries(
    sessions: Sessions, period: Period, account_id: int | None = None
) -> AsyncGenerator[Batch]:
    """Read the ledger entries of a period in their order; rows are as `ENTRY_COLUMNS`."""
    rows = entry_rows(EntryQuery(account_id, period=period)).subquery()
    names = ("email" if name == "user" else name for name in ENTRY_COLUMNS)
    statement = select(*(rows.c[name] for name in names)).order_by(rows.c.id).limit(_ROWS)
    async with sessions() as session:
        ids = await ids_of(session, period)
    if ids.upto is not None:
        statement = statement.where(rows.c.id <= ids.upto)
    last = ids.after
    while True:
        batch = await _fetch(sessions, statement.where(rows.c.id > last))
        if batch:
            yield batch
        if len(batch) < _ROWS:
            return
        last = batch[-1][0]


def _after(records: Select[*tuple[Any, ...]], last: tuple[object, ...]) -> Select[*tuple[Any, ...]]:
    # The first condition matches the index, which does not contain request ids.
    found = records.where(tuple_(*_KEY[:2]) >= tuple_(*last[:2]))
    return found.where(tuple_(*_KEY) > tuple_(*last))


def _usage(records: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Build what reads the rows of some records, and whose they are."""
    used = aliased(UsageRecord, records.subquery("used"))
    # One look-up for each; the planner must not read all holds there are.
    hold = aliased(
        HoldRecord,
        select(HoldRecord)
        .where(HoldRecord.account_id == used.account_id, HoldRecord.request_id == used.request_id)
        .correlate(used)
        .limit(1)
        .lateral("hold"),
    )
    trace = USAGE_COLUMNS.index("upstream_status")
    amounts = USAGE_COLUMNS[USAGE_COLUMNS.index("input") : trace]
    return (
        select(
            used.created_at,
            used.request_id,
            User.email,
            ApiKey.id,
            ApiKey.name,
            hold.endpoint,
            hold.model,
            *(getattr(used, name) for name in amounts),
            *(getattr(hold, name) for name in USAGE_COLUMNS[trace:]),
            used.account_id,
        )
        .select_from(used)
        .join(hold, true())
        .join(ApiKey, ApiKey.id == hold.key_id)
        .join(Account, Account.id == used.account_id)
        .join(User, User.id == Account.user_id)
        .order_by(used.account_id, used.created_at, used.request_id)
    )


def _used(period: Period, account_id: int | None) -> list[ColumnElement[bool]]:
    used = [UsageRecord.created_at >= period.start, UsageRecord.created_at < period.end]
    return used if account_id is None else [*used, UsageRecord.account_id == account_id]


async def _fetch(sessions: Sessions, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:
    async with sessions() as session:
        return (await session.execute(statement)).all()
