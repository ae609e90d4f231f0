"""Usage as rows to be summed: from the stored sums, and from the ledger's rows not yet in them.

One statement reads both, so that the result is consistent, whatever is charged, corrected or summed
up meanwhile:

    the days that are summed             from the sums, except days that changed since
    the days that changed since          from their rows, up to where the sums end
    after where the sums end             from their rows
    before the first midnight of the     from their rows
    period and after its last one

No row of the ledger changes. A correction is a row of its own day, so the sums of a day that is
over change only if a row is written long after its own time.

Rows of one account are found by their ids, and these are looked up before: ids that are known when
the sums end at one moment include all rows after any later one.
"""

# Columns are picked by name; what rows hold is said by the classes that they become.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    Text,
    and_,
    case,
    column,
    func,
    literal_column,
    select,
    text,
    true,
    union,
    union_all,
)
from sqlalchemy import cast as as_type

from tokenbalance.books.reports.groups import USER
from tokenbalance.books.reports.ids import Ids, ids_of
from tokenbalance.books.reports.lookups import is_one_of
from tokenbalance.books.reports.period import DAY, Period, midnight
from tokenbalance.books.reports.sums import (
    HAS_USAGE,
    MODEL,
    amounts_of,
    amounts_of_usage,
    nothing,
)
from tokenbalance.database.tables import (
    LedgerEntry,
    UsageChange,
    UsageDay,
    UsageDayKind,
    UsageSummed,
    UsageTotal,
    UsageTotalKind,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from typing import Any

    from sqlalchemy import ColumnElement, CompoundSelect, Select, SQLColumnExpression, Subquery
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstrumentedAttribute

    Rows = Select[*tuple[Any, ...]]

NO_KIND: Final = ""
"""In place of a kind: the row has sums, and no quantity."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the ledger the rows of a period are that are not in the sums."""

    live: Ids
    """Of those after where the sums end."""
    edges: Sequence[Ids]
    """Of those before the first midnight and after the last one."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which usage, grouped by which columns."""

    columns: tuple[str, ...]
    """From `columns_of`."""
    accounts: tuple[int, ...] | ColumnElement[int] | None
    """None: all; a column: the accounts of the rows that are joined."""
    period: Period
    places: Places
    key_ids: tuple[int, ...] | None = None
    """Only usage of these keys, which are of these accounts; None: of all."""


async def find_places(session: AsyncSession, period: Period) -> Places:
    """Look up the ids of the rows of a period that are not in the sums."""
    days, edges = _whole_days(period)
    until = (await session.scalars(select(UsageSummed.until))).one()
    live, *others = await ids_of(session, Period(max(until, days.start)), *edges)
    return Places(live, others)


def usage_rows(source: Source) -> Subquery:
    """Build the rows: the columns, kind and quantity, then the numbers under `SUM_NAMES`.

    In place of who answers for a key, rows have the key.

    A row has either the quantity of one kind, or sums and `NO_KIND`.
    """
    names = ("key_id" if name == USER else name for name in source.columns)
    source = replace(source, columns=tuple(dict.fromkeys(names)))
    days, edges = _whole_days(source.period)
    after_sums = after(func.greatest(summed_until(), days.start), source.places.live)
    parts = [
        *_from_sums(source, days),
        _from_ledger(source, and_(after_sums, LedgerEntry.created_at < days.end)),
        _from_changed_days(source, days),
        *(
            _from_ledger(source, _within(edge, ids))
            for edge, ids in zip(edges, source.places.edges, strict=True)
        ),
    ]
    return union_all(*parts).subquery("rows")


def days_of_usage(period: Period) -> CompoundSelect[*tuple[Any, ...]]:
    """Build the days that may have usage, in any order."""
    end = func.least(func.now(), period.end)
    after_sums = func.generate_series(
        as_type(func.timezone("UTC", func.greatest(summed_until(), period.start)), Date),
        as_type(func.timezone("UTC", end), Date),
        text("interval '1 day'"),
    )
    # `union` removes duplicates: partial days at both ends are in the sums too.
    return union(
        select(UsageTotal.day).where(
            UsageTotal.day >= period.start.date(), UsageTotal.day <= period.end.date()
        ),
        select(UsageChange.day),
        select(as_type(after_sums, Date)),
    )


def after(start: ColumnElement[datetime] | datetime, ids: Ids) -> ColumnElement[bool]:
    """Build the condition for rows written since a moment."""
    return and_(LedgerEntry.created_at >= start, LedgerEntry.id > ids.after)


def summed_until() -> ColumnElement[datetime]:
    """Build the moment where the sums end."""
    return select(UsageSummed.until).scalar_subquery()


def _within(period: Period, ids: Ids) -> ColumnElement[bool]:
    written = and_(after(period.start, ids), LedgerEntry.created_at < period.end)
    return written if ids.upto is None else and_(written, LedgerEntry.id <= ids.upto)


def _whole_days(period: Period) -> tuple[Period, list[Period]]:
    """Split a period at midnights: whole days, and the parts before and after them."""
    start, end = period.start, period.end
    first = midnight(start.date())
    first = first if first == start else first + DAY
    last = midnight(end.date())
    if first > last:
        return Period(first, first), [Period(start, end)]
    return Period(first, last), [
        edge for edge in (Period(start, first), Period(last, end)) if edge.start < edge.end
    ]


def _from_sums(source: Source, days: Period) -> list[Rows]:
    of_all = source.accounts is None and not {"account_id", "key_id"} & {*source.columns}
    sums, kinds = (UsageTotal, UsageTotalKind) if of_all else (UsageDay, UsageDayKind)
    no_kind = literal_column(f"'{NO_KIND}'", Text), literal_column("0", BigInteger)
    parts: list[Rows] = []
    for table, numbers in (
        (sums, (no_kind[0].label("kind"), no_kind[1].label("quantity"), *amounts_of(sums))),
        (kinds, (kinds.kind, kinds.quantity, *nothing())),
    ):
        columns = [getattr(table, name) for name in source.columns]
        rows = select(*columns, *numbers).where(
            table.day >= days.start.date(),
            table.day < days.end.date(),
            table.day.not_in(select(UsageChange.day)),
        )
        accounts, keys = (getattr(table, name, None) for name in ("account_id", "key_id"))
        if accounts is not None and keys is not None:
            rows = rows.where(_among(accounts, source), _with(keys, source))
        parts.append(rows)
    return parts


def _from_ledger(source: Source, written: ColumnElement[bool]) -> Rows:
    columns: dict[str, SQLColumnExpression[Any]] = {
        "day": as_type(func.timezone("UTC", LedgerEntry.created_at), Date).label("day"),
        "account_id": LedgerEntry.account_id,
        "key_id": LedgerEntry.key_id,
        "model": MODEL,
    }
    used = func.coalesce(LedgerEntry.quantities, text("'{}'::jsonb")).op("||")(
        text(f"'{{\"{NO_KIND}\": 0}}'::jsonb")
    )
    part = (
        func.jsonb_each_text(used)
        .table_valued(column("kind", Text), column("quantity", Text))
        .render_derived("part")
    )
    return (
        select(
            *(columns[name] for name in source.columns),
            part.c.kind,
            as_type(part.c.quantity, BigInteger).label("quantity"),
            *(
                case((part.c.kind == literal_column(f"'{NO_KIND}'"), amount), else_=0).label(
                    amount.key
                )
                for amount in amounts_of_usage()
            ),
        )
        .select_from(LedgerEntry)
        .join(part, true())
        .where(
            written,
            HAS_USAGE,
            _among(LedgerEntry.account_id, source),
            _with(LedgerEntry.key_id, source),
        )
    )


def _from_changed_days(source: Source, days: Period) -> Rows:
    changed = (
        select(UsageChange.day)
        .where(UsageChange.day >= days.start.date(), UsageChange.day < days.end.date())
        .distinct()
    )
    # As an array, and each day's rows apart: so the planner assumes that they are few, and uses
    # the index. Not by ids, which say nothing about rows that were late.
    each = func.unnest(func.array(changed.scalar_subquery()))
    each_day = each.table_valued(column("day", Date)).render_derived("changed")
    day: ColumnElement[date] = literal_column("changed.day", Date)
    end = func.least(_midnight(day + 1), summed_until())
    written = and_(LedgerEntry.created_at >= _midnight(day), LedgerEntry.created_at < end)
    rows = _from_ledger(source, written).offset(literal_column("0")).lateral("changed_rows")
    return select(*rows.c).select_from(each_day.join(rows, true()))


def _midnight(day: ColumnElement[Any]) -> ColumnElement[datetime]:
    return func.timezone("UTC", as_type(day, DateTime(timezone=False)))


def _with(
    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None], source: Source
) -> ColumnElement[bool]:
    return true() if source.key_ids is None else is_one_of(column, source.key_ids)


def _among(column: InstrumentedAttribute[int], source: Source) -> ColumnElement[bool]:
    match source.accounts:
        case None:
            return true()
        case (account,):
            return column == account
        case tuple(accounts):
            return column.in_(accounts)
        case account:
            return column == account
