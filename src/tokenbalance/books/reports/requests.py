"""Requests with their hold, usage and charge. Writes nothing."""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Boolean, func, literal_column, select, text, true
from sqlalchemy.orm import aliased

from tokenbalance.books.pricing.rates import rates_document, rates_from
from tokenbalance.books.reports.period import EVER, Period, request_id_at
from tokenbalance.database.paging import PAGE_ROWS, Page, cursor, page_of, read_cursor
from tokenbalance.database.tables import Account, ApiKey, HoldRecord, UsageRecord, User
from tokenbalance.model import Trace, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select, Subquery
    from sqlalchemy.ext.asyncio import AsyncSession

_LOOKED_AT: Final = 5000
"""Requests that one page examines, at most."""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """An API key without its secret."""

    id: int
    prefix: str
    name: str
    kind: str
    """`key`, or `sign-in` for a sign-in token."""


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
    """When requests arrived."""
    estimated: bool = False
    """Only those whose charge is an estimate."""
    overrun: bool = False
    """Only those whose charge was more than their hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One request with its hold and its outcome."""

    request_id: str
    account_id: int
    user_id: int
    email: str
    created_at: datetime
    ended_at: datetime | None
    state: str
    """One of `HOLD_STATES`."""
    endpoint: str
    model: str | None
    key: KeyRef
    hold: int
    """Credits that were reserved."""
    usage: Usage | None
    """None while it is open, or if nothing was used."""
    charge: int | None
    """Credits; None while it is open, or if it cost nothing. Does not include refunds."""
    overrun: int
    """Credits by which the charge was more than the hold."""
    corrected_at: datetime | None
    """When the true usage replaced an estimate."""
    rates: Mapping[str, str] | None
    """Credits for one unit of each kind, as exact decimals; None: a credit a token."""
    trace: Trace
    """How it went; nothing of it is known while it is open, or if its process is gone."""

    @property
    def estimated(self) -> bool:
        """Whether the charge is an estimate."""
        return self.usage is not None and self.usage.estimated


async def requests_page(
    session: AsyncSession, query: RequestQuery, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[RequestRow]:
    """Read a page of requests, newest first.

    A page may be shorter than its limit, even empty, without being the last: only so many requests
    are examined for one page, and few of them may match.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    last: str | None = None
    if after is not None:
        last = str(read_cursor(after, (str,))[0])
    if query.model is not None and not query.model.isprintable():
        return Page([], None)
    if query.key_id is not None and query.account_id is None:
        # A key's requests are found by its account; an unknown key has none.
        owner = await session.scalar(select(ApiKey.account_id).where(ApiKey.id == query.key_id))
        query = replace(query, account_id=owner or 0)
    holds = _looked_at(query, last)
    hold = aliased(HoldRecord, holds)
    filters = _filters(query, hold)
    statement = request_rows(hold).where(*filters).order_by(hold.request_id.desc())
    rows = await read_requests(session, statement.limit(limit + 1))
    if not filters or len(rows) > limit:
        return page_of(rows, limit, lambda row: (row.request_id,))
    end = select(func.count(), func.min(holds.c.request_id))
    number, lowest = (await session.execute(end)).one()
    return Page(rows, cursor((lowest,)) if number == _LOOKED_AT else None)


def request_rows(hold: type[HoldRecord]) -> Select[*tuple[Any, ...]]:
    """Build the statement that reads requests, given their holds."""
    usage = aliased(
        UsageRecord,
        # One look-up for each; the planner must not read the whole table.
        select(UsageRecord)
        .where(UsageRecord.account_id == hold.account_id, UsageRecord.request_id == hold.request_id)
        .correlate(hold)
        .limit(1)
        .lateral("used"),
    )
    return (
        select(hold, usage, ApiKey, User.id, User.email)
        .select_from(hold)
        .outerjoin(usage, true())
        .join(ApiKey, ApiKey.id == hold.key_id)
        .join(Account, Account.id == hold.account_id)
        .join(User, User.id == Account.user_id)
    )


async def read_requests(
    session: AsyncSession, statement: Select[*tuple[Any, ...]]
) -> list[RequestRow]:
    """Run a statement from `request_rows`."""
    return [_row_of(*row) for row in await session.execute(statement)]


def _looked_at(query: RequestQuery, last: str | None) -> Subquery:
    """Build the holds that a page examines, newest first."""
    holds = select(HoldRecord)
    if query.account_id is not None:
        holds = holds.where(HoldRecord.account_id == query.account_id)
    if last is not None:
        holds = holds.where(HoldRecord.request_id < last)
    if query.period.since is not None:
        holds = holds.where(HoldRecord.request_id >= request_id_at(query.period.start))
    if query.period.until is not None:
        holds = holds.where(HoldRecord.request_id < request_id_at(query.period.end))
    if query.state == "open":
        # They are few; in the words of the partial index.
        holds = holds.where(text("holds.state = 'open'"))
    return holds.order_by(HoldRecord.request_id.desc()).limit(_LOOKED_AT).subquery("looked_at")


def _filters(query: RequestQuery, hold: type[HoldRecord]) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if query.state is not None:
        filters.append(hold.state == query.state)
    if query.model is not None:
        filters.append(hold.model == query.model)
    if query.key_id is not None:
        filters.append(hold.key_id == query.key_id)
    if query.estimated:
        filters.append(literal_column("used.estimated", Boolean))
    if query.overrun:
        filters.append(literal_column("used.overrun > 0", Boolean))
    return filters


def _row_of(
    hold: HoldRecord, usage: UsageRecord | None, key: ApiKey, user_id: int, email: str
) -> RequestRow:
    return RequestRow(
        request_id=hold.request_id,
        account_id=hold.account_id,
        user_id=user_id,
        email=email,
        created_at=hold.created_at,
        ended_at=hold.ended_at,
        state=hold.state,
        endpoint=hold.endpoint,
        model=hold.model,
        key=KeyRef(key.id, key.prefix, key.name, key.kind),
        hold=hold.amount,
        usage=None if usage is None else _usage_of(usage),
        charge=None if usage is None else usage.charge,
        overrun=0 if usage is None else usage.overrun,
        corrected_at=None if usage is None else usage.corrected_at,
        rates=None if hold.rates is None else rates_document(rates_from(hold.rates)),
        trace=_trace_of(hold),
    )


def _trace_of(hold: HoldRecord) -> Trace:
    return Trace(
        hold.upstream_status,
        hold.error_code,
        hold.upstream_request_id,
        hold.first_byte_ms,
        hold.total_ms,
        hold.streamed,
        hold.output_cap,
        hold.capped,
    )


def _usage_of(record: UsageRecord) -> Usage:
    quantities = {
        "input": record.input,
        "cached_input": record.cached_input,
        "output": record.output,
        "reasoning": record.reasoning,
        "audio_input": record.audio_input,
        "audio_output": record.audio_output,
        "image_input": record.image_input,
        "image_output": record.image_output,
    }
    return Usage(quantities, record.total, record.estimated)
