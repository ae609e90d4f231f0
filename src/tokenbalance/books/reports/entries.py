"""Ledger entries: what changed balances, when, by whom and why. Writes nothing.

Rows of the ledger that changed no balance are left out: requests that cost nothing.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from tokenbalance.books.ledger.entries import Entry
from tokenbalance.books.reports.ids import ids_of
from tokenbalance.books.reports.lookups import (
    by_request_only,
    is_after_an_end,
    is_one_of,
    key_of,
)
from tokenbalance.books.reports.period import EVER, Period
from tokenbalance.database.paging import PAGE_ROWS, Page, cursor, page_of, read_cursor
from tokenbalance.database.tables import ApiKey, LedgerEntry
from tokenbalance.database.whose import WHOSE, with_whose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import ColumnElement, Select, SQLColumnExpression
    from sqlalchemy.ext.asyncio import AsyncSession

_ROWS_AT_ONCE: Final = 1000
_LOOKED_AT: Final = 5000
"""Rows that one page examines, at most."""


@dataclass(frozen=True, slots=True)
class EntryQuery:
    """Which entries, and in which order."""

    account_id: int | None = None
    """None: all accounts."""
    kinds: tuple[str, ...] = ()
    """From `ENTRY_KINDS`; empty: every kind."""
    period: Period = EVER
    newest_first: bool = False
    key_ids: tuple[int, ...] | None = None
    """Only what was entered for requests of these keys; None: everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow(Entry):
    """One change of a balance, and whose balance it is."""

    user_id: int | None
    """Who answers for the key of the request, else the user of the account; None: nobody, in a
    team."""
    email: str
    """Theirs; empty if nobody does."""
    team: str
    """The name of the team whose balance it is; empty: a personal account."""


async def entries_page(
    session: AsyncSession, query: EntryQuery, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[EntryRow]:
    """Read a page of entries, by id.

    A page may be shorter than its limit, even empty, without being the last: only so many rows are
    examined for one page, and many requests may have cost nothing.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    (ids,) = await ids_of(session, query.period)
    rows = _among(query).where(LedgerEntry.id > ids.after)
    if ids.upto is not None:
        rows = rows.where(LedgerEntry.id <= ids.upto)
    if after is not None:
        (last,) = read_cursor(after, (int,))
        rows = rows.where(LedgerEntry.id < last if query.newest_first else LedgerEntry.id > last)
    looked_at = rows.order_by(_in_order(query)).limit(_LOOKED_AT).subquery("looked_at")
    entry = aliased(LedgerEntry, looked_at)
    matching = select(entry).where(*are_entries(query, entry))
    of_page = matching.order_by(_in_order(query, entry)).limit(limit + 1)
    shown = aliased(LedgerEntry, of_page.subquery("of_page"))
    found = await _read(session, named_entries(shown).order_by(_in_order(query, shown)))
    if len(found) > limit:
        return page_of(found, limit, lambda row: (row.id,))
    furthest = func.min(looked_at.c.id) if query.newest_first else func.max(looked_at.c.id)
    number, end = (await session.execute(select(func.count(), furthest))).one()
    return Page(found, cursor((end,)) if number == _LOOKED_AT else None)


def _in_order(
    query: EntryQuery, entry: type[LedgerEntry] = LedgerEntry
) -> SQLColumnExpression[int]:
    return entry.id.desc() if query.newest_first else entry.id


def _among(query: EntryQuery) -> Select[LedgerEntry]:
    """Build the rows among which the entries are, as far as an index finds them."""
    rows = select(LedgerEntry)
    if query.account_id is not None:
        rows = rows.where(LedgerEntry.account_id == query.account_id)
    if query.kinds and "charge" not in query.kinds:
        rows = rows.where(LedgerEntry.state.is_(None), LedgerEntry.kind.in_(query.kinds))
    return rows


async def entries_of_request(
    session: AsyncSession, account_id: int, request_id: str
) -> list[EntryRow]:
    """Read the entries that name a request, oldest first."""
    of_request = named_entries().where(
        LedgerEntry.balance_after.is_not(None),
        LedgerEntry.request_id == request_id,
        by_request_only(LedgerEntry.account_id) == account_id,
    )
    # Two queries, each in the words of its partial index.
    rows = await _read(session, of_request.where(LedgerEntry.state.is_not(None)))
    rows += await _read(session, of_request.where(is_after_an_end()))
    return sorted(rows, key=lambda row: row.id)


def named_entries(entry: type[LedgerEntry] = LedgerEntry) -> Select[*tuple[Any, ...]]:
    """Build the statement that reads entries, all of them, under the names of `EntryRow`.

    Whose they are is looked up for each: those of a page, or a batch, are to be found before.
    """
    names = (field.name for field in fields(Entry))
    rows = (
        select(*WHOSE, *(getattr(entry, name) for name in names))
        .select_from(entry)
        .outerjoin(ApiKey, ApiKey.id == key_of(entry))
    )
    return with_whose(rows, entry.account_id)


def are_entries(
    query: EntryQuery, entry: type[LedgerEntry] = LedgerEntry
) -> list[ColumnElement[bool]]:
    """Build the conditions for the rows of the ledger that are the entries of a query."""
    conditions: list[ColumnElement[bool]] = [entry.balance_after.is_not(None)]
    if query.account_id is not None:
        conditions.append(entry.account_id == query.account_id)
    if query.kinds:
        conditions.append(entry.kind.in_(query.kinds))
    if query.key_ids is not None:
        conditions.append(is_one_of(key_of(entry), query.key_ids))
    if query.period.since is not None:
        conditions.append(entry.created_at >= query.period.start)
    if query.period.until is not None:
        conditions.append(entry.created_at < query.period.end)
    return conditions


async def _read(session: AsyncSession, statement: Select[*tuple[Any, ...]]) -> list[EntryRow]:
    rows = (await session.execute(statement)).mappings()
    return [EntryRow(**row) for row in rows]


async def entries(session: AsyncSession, account_id: int) -> AsyncIterator[EntryRow]:
    """Stream the entries of an account, oldest first, in one snapshot."""
    found = named_entries().where(*are_entries(EntryQuery(account_id)))
    rows = await session.stream(
        found.order_by(LedgerEntry.id), execution_options={"yield_per": _ROWS_AT_ONCE}
    )
    async for row in rows.mappings():
        yield EntryRow(**row)
