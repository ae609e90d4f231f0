"""Counts of refused requests, by day (UTC), key and code. Writes nothing.

They are written by each process every few seconds (`people.refusals`), so the newest refusals
may be missing.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, tuple_

from tokenbalance.books.reports.lookups import is_one_of
from tokenbalance.books.reports.period import EVER, Period
from tokenbalance.books.reports.request_rows import KeyRef
from tokenbalance.database.paging import PAGE_ROWS, Page, page_of, read_cursor
from tokenbalance.database.tables import ApiKey, RefusalCount
from tokenbalance.database.whose import WHOSE, with_whose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

_KEY: Final = (RefusalCount.day, RefusalCount.key_id, RefusalCount.code)
_MOMENT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """Requests of one day with one key that were refused with one code."""

    day: date
    key: KeyRef
    code: str
    count: int
    last_at: datetime
    account_id: int
    user_id: int | None
    """Who answers for the key; None: it is a service key of a team."""
    email: str
    """Theirs; empty if nobody does."""
    team: str
    """The name of the team; empty: a personal account."""


@dataclass(frozen=True, slots=True)
class RefusedToday:
    """Requests of an account that were refused with one code today (UTC)."""

    code: str
    count: int


async def refusals_page(  # noqa: PLR0913, PLR0917 - which rows, and which page of them
    session: AsyncSession,
    account_id: int,
    period: Period = EVER,
    after: str | None = None,
    limit: int = PAGE_ROWS,
    key_ids: tuple[int, ...] | None = None,
) -> Page[RefusalRow]:
    """Read a page of an account's refusals, newest day first.

    Args:
        session: the caller's.
        account_id: whose.
        period: every day that it touches is read as a whole.
        after: the cursor of the page before.
        limit: rows of a page.
        key_ids: only refusals of these keys; None: of all.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    rows = (
        select(RefusalCount, ApiKey, *WHOSE)
        .join(ApiKey, ApiKey.id == RefusalCount.key_id)
        .where(
            RefusalCount.account_id == account_id,
            RefusalCount.day >= period.start.date(),
            RefusalCount.day <= (period.end - _MOMENT).date(),
        )
        .order_by(*(column.desc() for column in _KEY))
        .limit(limit + 1)
    )
    statement = with_whose(rows, RefusalCount.account_id)
    if key_ids is not None:
        statement = statement.where(is_one_of(RefusalCount.key_id, key_ids))
    if after is not None:
        last = read_cursor(after, (int, int, str))
        day = date.fromordinal(min(max(int(last[0] or 1), 1), date.max.toordinal()))
        statement = statement.where(tuple_(*_KEY) < tuple_(day, last[1], last[2]))
    found = [_row_of(*row) for row in await session.execute(statement)]
    return page_of(found, limit, lambda row: (row.day.toordinal(), row.key.id, row.code))


async def refused_today(session: AsyncSession, account_id: int) -> Sequence[RefusedToday]:
    """Sum up an account's refusals of today (UTC) by code, the most frequent first."""
    count = func.sum(RefusalCount.count)
    statement = (
        select(RefusalCount.code, count)
        .where(RefusalCount.account_id == account_id, RefusalCount.day == datetime.now(UTC).date())
        .group_by(RefusalCount.code)
        .order_by(count.desc(), RefusalCount.code)
    )
    return [RefusedToday(code, int(sum_)) for code, sum_ in await session.execute(statement)]


def _row_of(
    record: RefusalCount, key: ApiKey, user_id: int | None, email: str, team: str
) -> RefusalRow:
    return RefusalRow(
        day=record.day,
        key=KeyRef(key.id, key.prefix, key.name, key.kind),
        code=record.code,
        count=record.count,
        last_at=record.last_at,
        account_id=record.account_id,
        user_id=user_id,
        email=email,
        team=team,
    )
