"""Usage as rows to be summed: from the stored sums, and from the records not yet in them.

One statement reads both, so that the result is consistent, whatever is charged, corrected or summed
up meanwhile:

    the days that are summed             from the sums, except days that changed since
    the days that changed since          from their records, up to where the sums end
    after where the sums end             from their records
    before the first midnight of the     from their records
    period and after its last one
"""

# Columns are picked by name; what rows hold is said by the classes that they become.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    Date,
    DateTime,
    and_,
    column,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
    union,
    union_all,
)
from sqlalchemy import cast as as_type

from tokenbalance.books.reports.period import DAY, Period, midnight
from tokenbalance.books.reports.sums import HOLD_OF_USAGE, MODEL, amounts_of, amounts_of_usage
from tokenbalance.database.tables import (
    HoldRecord,
    UsageChange,
    UsageDay,
    UsageRecord,
    UsageSummed,
    UsageTotal,
)

if TYPE_CHECKING:
    from datetime import date, datetime
    from typing import Any

    from sqlalchemy import ColumnElement, CompoundSelect, Select, SQLColumnExpression, Subquery
    from sqlalchemy.orm import InstrumentedAttribute


@dataclass(frozen=True, slots=True)
class Source:
    """Which usage, grouped by which columns."""

    columns: tuple[str, ...]
    """From `columns_of`."""
    accounts: tuple[int, ...] | ColumnElement[int] | None
    """None: all; a column: the accounts of the rows that are joined."""
    period: Period


def usage_rows(source: Source) -> Subquery:
    """Build the rows: the columns, then the numbers to be summed, under `SUM_NAMES`."""
    days, edges = _whole_days(source.period)
    parts = [
        _from_sums(source, days),
        _from_records(source, _since_sums(days)),
        _from_changed_days(source, days),
        *(_from_records(source, _between(edge)) for edge in edges),
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


def live(start: ColumnElement[datetime] | datetime, end: datetime) -> ColumnElement[bool]:
    """Build the condition for records written between two moments."""
    return and_(UsageRecord.created_at >= start, UsageRecord.created_at < end)


def summed_until() -> ColumnElement[datetime]:
    """Build the moment where the sums end."""
    return select(UsageSummed.until).scalar_subquery()


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


def _from_sums(source: Source, days: Period) -> Select[*tuple[Any, ...]]:
    of_all = source.accounts is None and not {"account_id", "key_id"} & {*source.columns}
    sums = UsageTotal if of_all else UsageDay
    columns = [getattr(sums, name) for name in source.columns]
    rows = select(*columns, *amounts_of(sums)).where(
        sums.day >= days.start.date(),
        sums.day < days.end.date(),
        # Days on which everything was voided have no usage.
        sums.requests > 0,
        sums.day.not_in(select(UsageChange.day)),
    )
    return rows if of_all else rows.where(_among(UsageDay.account_id, source))


def _from_records(source: Source, written: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    columns: dict[str, SQLColumnExpression[Any]] = {
        "day": as_type(func.timezone("UTC", UsageRecord.created_at), Date).label("day"),
        "account_id": UsageRecord.account_id,
    }
    rows = select().where(written)
    if {"key_id", "model"} & {*source.columns}:
        # One look-up for each record: the planner must not read the whole table of holds.
        hold = (
            select(HoldRecord.key_id, MODEL)
            .where(HOLD_OF_USAGE)
            .correlate(UsageRecord)
            .limit(1)
            .lateral()
        )
        columns |= {"key_id": hold.c.key_id, "model": hold.c.model}
        rows = rows.join_from(UsageRecord, hold, true())
    rows = rows.add_columns(*(columns[name] for name in source.columns), *amounts_of_usage())
    return rows.where(_among(UsageRecord.account_id, source))


def _from_changed_days(source: Source, days: Period) -> Select[*tuple[Any, ...]]:
    changed = (
        select(UsageChange.day)
        .where(UsageChange.day >= days.start.date(), UsageChange.day < days.end.date())
        .distinct()
    )
    # As an array, and each day's records apart: so the planner assumes that they are few, and uses
    # the index.
    each = func.unnest(func.array(changed.scalar_subquery()))
    each_day = each.table_valued(column("day", Date)).render_derived("changed")
    day: ColumnElement[date] = literal_column("changed.day", Date)
    end = func.least(_midnight(day + 1), summed_until())
    written = and_(UsageRecord.created_at >= _midnight(day), UsageRecord.created_at < end)
    records = _from_records(source, written).offset(literal_column("0")).lateral("records")
    return select(*records.c).select_from(each_day.join(records, true()))


def _since_sums(days: Period) -> ColumnElement[bool]:
    return live(func.greatest(summed_until(), days.start), days.end)


def _between(edge: Period) -> ColumnElement[bool]:
    return live(literal(edge.start), edge.end)


def _midnight(day: ColumnElement[Any]) -> ColumnElement[datetime]:
    return func.timezone("UTC", as_type(day, DateTime(timezone=False)))


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
