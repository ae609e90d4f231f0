"""All rows of a period, for files: in batches, each a short statement of its own.

Neither a connection nor a snapshot is held between two batches, so that a client that reads slowly,
or stops reading, costs nothing. Rows come in the order of the ledger, which is that of time, so
that a batch reads what it returns and no more. Writes nothing.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import BigInteger, func, select, true
from sqlalchemy import cast as as_type
from sqlalchemy.orm import aliased

from tokenbalance.books.pricing.units import UNITS
from tokenbalance.books.reports.entries import EntryQuery, are_entries, named_entries
from tokenbalance.books.reports.ids import ids_of
from tokenbalance.books.reports.lookups import is_one_of
from tokenbalance.books.reports.request_rows import correction_of, rerates_of
from tokenbalance.database.tables import ApiKey, LedgerEntry
from tokenbalance.database.whose import EMAIL, TEAM, with_whose

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from sqlalchemy import ColumnElement, Row, Select

    from tokenbalance.books.reports.ids import Ids
    from tokenbalance.books.reports.period import Period
    from tokenbalance.database.connections import Sessions

Cell: TypeAlias = str | int | bool | datetime | None
Batch: TypeAlias = Sequence[Sequence[Cell]]
"""Rows of a file, as many as one statement reads."""

FIRST_KINDS: Final = UNITS.own_tokens[:8]
"""Kinds with a column of their own before `total`."""
OTHERS: Final = "others"
"""The column of all kinds without one of their own: fees, tiers, second bills, seconds."""
LATER_KINDS: Final = UNITS.own_tokens[8:11]
"""Kinds that came later, with columns behind all that there were."""
NEWEST_KINDS: Final = UNITS.own_tokens[11:]
"""Kinds that came after the column of the team, likewise: no column ever moves."""
_WHOSE: Final = ("created_at", "request_id", "user", "key_id", "key_name", "endpoint", "model")
_NUMBERS: Final = ("total", "charge", "overrun", "estimated")
_TRACE: Final = ("upstream_status", "first_byte_ms", "total_ms", "streamed")
_TIMES: Final = ("arrived_at", "ended_at")
"""As requests are listed elsewhere: `created_at` is the end here, and the arrival there."""
USAGE_COLUMNS: Final = (
    *_WHOSE,
    *FIRST_KINDS,
    *_NUMBERS,
    *_TRACE,
    *_TIMES,
    OTHERS,
    *LATER_KINDS,
    "team",
    *NEWEST_KINDS,
)
"""The user is who answers for the key; empty for a service key of a team."""
ENTRY_COLUMNS: Final = (
    *("id", "created_at", "user", "kind", "amount", "balance_after"),
    *("request_id", "actor", "note", "estimated", "team"),
)


_ROWS: Final = 2000
"""Of a batch."""


async def export_usage(
    sessions: Sessions,
    period: Period,
    account_id: int | None = None,
    among: tuple[int, ...] | None = None,
    key_ids: tuple[int, ...] | None = None,
) -> AsyncGenerator[Batch]:
    """Read the charged requests of a period as they ended; rows are as `USAGE_COLUMNS`.

    Args:
        sessions: each batch opens a session of its own.
        period: when requests were charged.
        account_id: None: all accounts.
        among: only these accounts; None: all.
        key_ids: only requests of these keys; None: of all.

    """
    async with sessions() as session:
        (ids,) = await ids_of(session, period)
    ends = _charged(period, account_id, ids, among)
    if key_ids is not None:
        ends = ends.where(is_one_of(LedgerEntry.key_id, key_ids))
    ends = ends.order_by(LedgerEntry.id).limit(_ROWS)
    last = ids.after
    while True:
        rows = await _fetch(sessions, _usage(ends.where(LedgerEntry.id > last)))
        if rows:
            yield [_cells(row) for row in rows]
        if len(rows) < _ROWS:
            return
        last = rows[-1].id


async def count_usage(
    sessions: Sessions,
    period: Period,
    account_id: int | None = None,
    among: tuple[int, ...] | None = None,
) -> int:
    """Count the rows of an export of usage, for a progress display."""
    async with sessions() as session:
        (ids,) = await ids_of(session, period)
        ends = _charged(period, account_id, ids, among).where(LedgerEntry.id > ids.after)
        statement = select(func.count()).select_from(ends.subquery())
        return (await session.scalars(statement)).one()


async def export_entries(
    sessions: Sessions,
    period: Period,
    account_id: int | None = None,
    key_ids: tuple[int, ...] | None = None,
) -> AsyncGenerator[Batch]:
    """Read the ledger entries of a period in their order; rows are as `ENTRY_COLUMNS`."""
    query = EntryQuery(account_id, period=period, key_ids=key_ids)
    async with sessions() as session:
        (ids,) = await ids_of(session, period)
    found = select(LedgerEntry).where(*are_entries(query)).order_by(LedgerEntry.id).limit(_ROWS)
    if ids.upto is not None:
        found = found.where(LedgerEntry.id <= ids.upto)
    last = ids.after
    while True:
        batch = await _fetch(sessions, _entries(found.where(LedgerEntry.id > last)))
        if batch:
            yield batch
        if len(batch) < _ROWS:
            return
        last = batch[-1][0]


def _entries(found: Select[LedgerEntry]) -> Select[*tuple[Any, ...]]:
    """Build what reads the cells of some entries; whose they are is looked up for these alone."""
    rows = named_entries(aliased(LedgerEntry, found.subquery("found"))).subquery()
    names = ("email" if name == "user" else name for name in ENTRY_COLUMNS)
    return select(*(rows.c[name] for name in names)).order_by(rows.c.id)


def _charged(
    period: Period, account_id: int | None, ids: Ids, among: tuple[int, ...] | None
) -> Select[LedgerEntry]:
    conditions: list[ColumnElement[bool]] = [
        LedgerEntry.state.in_(("settled", "expired")),
        LedgerEntry.created_at >= period.start,
        LedgerEntry.created_at < period.end,
    ]
    if ids.upto is not None:
        conditions.append(LedgerEntry.id <= ids.upto)
    if account_id is not None:
        conditions.append(LedgerEntry.account_id == account_id)
    if among is not None:
        conditions.append(LedgerEntry.account_id.in_(among))
    return select(LedgerEntry).where(*conditions)


def _usage(ends: Select[LedgerEntry]) -> Select[*tuple[Any, ...]]:
    """Build what reads the rows of some charges, with all that came later, and whose they are."""
    end = aliased(LedgerEntry, ends.subquery("charged"))
    correction, rerates = correction_of(end), rerates_of(end)
    paid = -end.amount - func.coalesce(correction.amount, 0) - func.coalesce(rerates.c.amount, 0)
    rows = (
        select(
            end.created_at,
            end.request_id,
            EMAIL,
            ApiKey.id.label("key_id"),
            ApiKey.name,
            end.endpoint,
            end.model,
            (end.total + func.coalesce(correction.total, 0)).label("total"),
            as_type(paid, BigInteger).label("charge"),
            (end.overrun + func.coalesce(correction.overrun, 0)).label("overrun"),
            func.coalesce(correction.estimated, end.estimated).label("estimated"),
            *(
                func.coalesce(getattr(end, name), getattr(correction, name)).label(name)
                for name in _TRACE
            ),
            end.started_at.label("arrived_at"),
            end.created_at.label("ended_at"),
            TEAM,
            end.quantities,
            correction.quantities.label("corrected"),
            end.id,
        )
        .select_from(end)
        .outerjoin(correction, true())
        .outerjoin(rerates, true())
        .join(ApiKey, ApiKey.id == end.key_id)
    )
    return with_whose(rows, end.account_id).order_by(end.id)


def _cells(row: Row[*tuple[Any, ...]]) -> list[Cell]:
    *cells, team, quantities, corrected, _ = row
    used = Counter[str](quantities or {})
    used.update(corrected or {})
    whose, others = cells[: len(_WHOSE)], cells[len(_WHOSE) :]
    return [
        *whose,
        *(used[kind] for kind in FIRST_KINDS),
        *others,
        others_cell(used),
        *(used[kind] for kind in LATER_KINDS),
        team,
        *(used[kind] for kind in NEWEST_KINDS),
    ]


def others_cell(used: Mapping[str, int]) -> str:
    """Write the quantities that have no column: `call:web_search=7 tier:priority=1`."""
    shown = {*FIRST_KINDS, *LATER_KINDS, *NEWEST_KINDS}
    return " ".join(
        f"{kind}={used[kind]}" for kind in sorted(used) if used[kind] and kind not in shown
    )


async def _fetch(sessions: Sessions, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:
    async with sessions() as session:
        return (await session.execute(statement)).all()
