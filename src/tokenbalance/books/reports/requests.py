"""Lists of requests, newest first: those that are open, then those that ended. Writes nothing.

Open requests are sorted by when they arrived, ended ones by when they ended. A request that ends
between two pages may be on both, as open and as ended; none is left out.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from tokenbalance.books.reports.ids import Ids, ids_of, negative_ids_of
from tokenbalance.books.reports.lookups import is_one_of
from tokenbalance.books.reports.period import EVER, Period
from tokenbalance.books.reports.request_rows import (
    RequestRow,
    correction_of,
    ended_rows,
    open_rows,
    read_ended,
    read_open,
)
from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import (
    NOT_A_CURSOR,
    PAGE_ROWS,
    InvalidCursor,
    Key,
    Page,
    cursor,
    read_cursor,
)
from tokenbalance.database.tables import ApiKey, LedgerEntry, OpenHold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

_LOOKED_AT: Final = 5000
"""Requests that one page examines, at most."""
_OPEN: Final = "open"
_ENDED: Final = "ended"


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """Which requests; None or False: no such condition."""

    account_id: int | None = None
    """None: all accounts."""
    state: str | None = None
    """One of `HOLD_STATES`."""
    model: str | None = None
    key_id: int | None = None
    period: Period = EVER
    """When requests ended; of open ones, when they arrived."""
    estimated: bool = False
    """Only those whose charge is an estimate."""
    overrun: bool = False
    """Only those whose charge was more than their hold."""
    key_ids: tuple[int, ...] | None = None
    """Only those of these keys; None: of all."""

    @property
    def open(self) -> bool:
        """Whether open requests can be among them."""
        return self.state in {None, "open"} and not self.estimated and not self.overrun

    @property
    def ended(self) -> bool:
        """Whether ended requests can be among them."""
        return self.state != "open"


@dataclass(frozen=True, slots=True)
class _Room:
    """What is left of a page."""

    rows: int
    examined: int
    """Requests to examine, at most."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found in one part of the list."""

    rows: list[RequestRow]
    examined: int
    last: Key
    """Of the last request that was examined, if that many were."""


_Look: TypeAlias = "Callable[[_Room], Awaitable[_Seen]]"


async def requests_page(
    session: AsyncSession, query: RequestQuery, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[RequestRow]:
    """Read a page of requests, newest first.

    A page may be shorter than its limit, even empty, without being the last: only so many requests
    are examined for one page, and few of them may match.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    begin = None if after is None else _read(after)
    if query.model is not None and not query.model.isprintable():
        return Page([], None)
    if query.key_id is not None and query.account_id is None:
        # A key's requests are found by its account; an unknown key has none.
        owner = await session.scalar(select(ApiKey.account_id).where(ApiKey.id == query.key_id))
        query = replace(query, account_id=owner or 0)
    rows: list[RequestRow] = []
    examined = 0
    for look in await _looks(session, query, begin):
        seen = await look(_Room(limit + 1 - len(rows), _LOOKED_AT - examined))
        # What was open a moment ago may have ended since.
        ended = {row.request_id for row in seen.rows}
        rows = [row for row in rows if row.request_id not in ended] + seen.rows
        if len(rows) > limit:
            return Page(rows[:limit], cursor(_key(rows[limit - 1])))
        examined += seen.examined
        if examined == _LOOKED_AT:
            return Page(rows, cursor(seen.last))
    return Page(rows, None)


async def _looks(session: AsyncSession, query: RequestQuery, begin: Key | None) -> list[_Look]:
    """List what is read one after the other until a page is full."""
    part, last = begin or (None, None)
    looks: list[_Look] = []
    if query.open and part in {None, _OPEN}:
        looks.append(partial(_look_at_open, session, query, last))
    if query.ended:
        after = last if part == _ENDED else None
        looks += [
            partial(_look_at_ended, session, query, ids, after)
            for ids in await _ranges(session, query.period)
        ]
    return looks


async def _ranges(session: AsyncSession, period: Period) -> list[Ids]:
    """Find the ids of what ended in a period, the newest range first."""
    (ids,) = await ids_of(session, period)
    if period == EVER:
        return [ids, Ids(-ID_MAX, -1)]
    return [ids, await negative_ids_of(session, period)]


async def _look_at_open(
    session: AsyncSession, query: RequestQuery, last: str | int | None, room: _Room
) -> _Seen:
    holds = select(OpenHold).where(OpenHold.amount > 0)
    if query.account_id is not None:
        holds = holds.where(OpenHold.account_id == query.account_id)
    if last is not None:
        holds = holds.where(OpenHold.request_id < last)
    holds = holds.order_by(OpenHold.request_id.desc()).limit(room.examined)
    looked_at = holds.subquery("looked_at")
    hold = aliased(OpenHold, looked_at)
    filters = [*_asked(query, hold), *_during(query.period, hold)]
    rows = open_rows(hold).where(*filters).order_by(hold.request_id.desc()).limit(room.rows)
    found = await read_open(session, rows)
    if not filters or len(found) == room.rows:
        return _all(found)
    end = select(func.count(), func.min(looked_at.c.request_id))
    number, lowest = (await session.execute(end)).one()
    return _Seen(found, number, (_OPEN, lowest))


async def _look_at_ended(
    session: AsyncSession, query: RequestQuery, ids: Ids, last: str | int | None, room: _Room
) -> _Seen:
    ends = select(LedgerEntry).where(LedgerEntry.state.is_not(None), LedgerEntry.id > ids.after)
    if ids.upto is not None:
        ends = ends.where(LedgerEntry.id <= ids.upto)
    if query.account_id is not None:
        ends = ends.where(LedgerEntry.account_id == query.account_id)
    if last is not None:
        ends = ends.where(LedgerEntry.id < last)
    ends = ends.order_by(LedgerEntry.id.desc()).limit(room.examined)
    looked_at = ends.subquery("looked_at")
    end = aliased(LedgerEntry, looked_at)
    correction = correction_of(end)
    filters = [*_asked(query, end), *_during(query.period, end), *_ended_as(query, end, correction)]
    rows = ended_rows(end, correction).where(*filters).order_by(end.id.desc()).limit(room.rows)
    found = await read_ended(session, rows)
    if not filters or len(found) == room.rows:
        return _all(found)
    examined = select(func.count(), func.min(looked_at.c.id))
    number, lowest = (await session.execute(examined)).one()
    return _Seen(found, number, (_ENDED, lowest))


def _all(found: list[RequestRow]) -> _Seen:
    return _Seen(found, len(found), _key(found[-1]) if found else ())


def _asked(query: RequestQuery, row: type[OpenHold | LedgerEntry]) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if query.model is not None:
        filters.append(row.model == query.model)
    if query.key_id is not None:
        filters.append(row.key_id == query.key_id)
    if query.key_ids is not None:
        filters.append(is_one_of(row.key_id, query.key_ids))
    return filters


def _during(period: Period, row: type[OpenHold | LedgerEntry]) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if period.since is not None:
        filters.append(row.created_at >= period.start)
    if period.until is not None:
        filters.append(row.created_at < period.end)
    return filters


def _ended_as(
    query: RequestQuery, end: type[LedgerEntry], correction: type[LedgerEntry]
) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if query.state is not None:
        filters.append(end.state == query.state)
    if query.estimated:
        filters.append(func.coalesce(correction.estimated, end.estimated))
    if query.overrun:
        filters.append(end.overrun + func.coalesce(correction.overrun, 0) > 0)
    return filters


def _key(row: RequestRow) -> Key:
    return (_OPEN, row.request_id) if row.entry_id is None else (_ENDED, row.entry_id)


def _read(after: str) -> Key:
    """Read a cursor: which part of the list, and the last request of the page before."""
    try:
        found = read_cursor(after, (str, int))
    except InvalidCursor:
        found = read_cursor(after, (str, str))
    if found[0] != (_ENDED if isinstance(found[1], int) else _OPEN):
        raise InvalidCursor(NOT_A_CURSOR)
    return found
