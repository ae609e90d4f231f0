"""Requests as rows: of an open hold, or of the ledger's rows after its end. Writes nothing.

An open request has one row in `open_holds`. Its end is one row in the ledger, where the correction
of an expired request is another, with differences, and each rerate one more; here they are one.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by
from sqlalchemy.orm import aliased

from tokenbalance.books.pricing.rates import rates_from
from tokenbalance.books.reports.lookups import by_request_only, is_rerate
from tokenbalance.database.tables import ApiKey, LedgerEntry, OpenHold
from tokenbalance.database.whose import WHOSE, with_whose
from tokenbalance.model import UNTRACED, Trace, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.sql.selectable import LateralFromClause

    from tokenbalance.model import Rates


@dataclass(frozen=True, slots=True)
class KeyRef:
    """An API key without its secret."""

    id: int
    prefix: str
    name: str
    kind: str
    """`key`, or `sign-in` for a sign-in token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One request with its hold and its outcome."""

    entry_id: int | None
    """The row of the ledger that is its end; None while it is open."""
    request_id: str
    account_id: int
    user_id: int | None
    """Who answers for the key; None: it is a service key of a team."""
    email: str
    """Theirs; empty if nobody does."""
    team: str
    """The name of the team that pays; empty: a personal account."""
    created_at: datetime
    ended_at: datetime | None
    state: str
    """One of `HOLD_STATES`."""
    endpoint: str
    model: str | None
    key: KeyRef
    hold: int
    """Credits that were reserved."""
    estimated_input: int
    """Tokens: the ceiling of the input that the hold covered."""
    estimated_output: int
    """Tokens: the ceiling of all choices together."""
    usage: Usage | None
    """None while it is open, or if nothing was used."""
    charge: int | None
    """Credits; None while it is open, or if it cost nothing. Does not include refunds."""
    overrun: int
    """Credits by which the charge was more than the hold, apart from what rerates added."""
    corrected_at: datetime | None
    """When the true usage replaced an estimate."""
    rates: Rates | None
    """Those of its hold, or of its last rerate; None: a credit a token."""
    trace: Trace
    """How it went; nothing of it is known while it is open, or if its process is gone."""

    @property
    def estimated(self) -> bool:
        """Whether the charge is an estimate."""
        return self.usage is not None and self.usage.estimated


def open_rows(hold: type[OpenHold]) -> Select[*tuple[Any, ...]]:
    """Build the statement that reads open requests, given their holds."""
    rows = (
        select(hold, ApiKey, *WHOSE)
        .select_from(hold)
        .join(ApiKey, ApiKey.id == hold.key_id)
        .where(hold.amount > 0)
    )
    return with_whose(rows, hold.account_id)


def correction_of(end: type[LedgerEntry]) -> type[LedgerEntry]:
    """Build the correction of a request, given its end; only expired ones have any."""
    row = aliased(LedgerEntry, name="corrected")
    return aliased(
        LedgerEntry,
        # One look-up for each, of which there are few; the planner must not read the whole table.
        select(row)
        .where(
            end.state == "expired",
            row.request_id == end.request_id,
            by_request_only(row.account_id) == end.account_id,
            row.kind == "adjustment",
            row.request_id.is_not(None),
            row.rates.is_(None),
        )
        .correlate(end)
        .limit(1)
        .lateral("correction"),
    )


def rerates_of(end: type[LedgerEntry]) -> LateralFromClause:
    """Build what the rerates of a request come to, given its end: `amount` and `rates`, or null."""
    row = aliased(LedgerEntry, name="rerate")
    newest_first = func.array_agg(aggregate_order_by(row.rates, row.id.desc()), type_=ARRAY(JSONB))
    return (
        # As above.
        select(func.sum(row.amount).label("amount"), newest_first[1].label("rates"))
        .where(
            row.request_id == end.request_id,
            by_request_only(row.account_id) == end.account_id,
            is_rerate(row),
        )
        .correlate(end)
        .lateral("rerates")
    )


def ended_rows(end: type[LedgerEntry], correction: type[LedgerEntry]) -> Select[*tuple[Any, ...]]:
    """Build the statement that reads requests that ended, given their ends and corrections."""
    rerates = rerates_of(end)
    rows = (
        select(end, correction, rerates.c.amount, rerates.c.rates, ApiKey, *WHOSE)
        .select_from(end)
        .outerjoin(correction, true())
        .outerjoin(rerates, true())
        .join(ApiKey, ApiKey.id == end.key_id)
    )
    return with_whose(rows, end.account_id)


async def read_open(session: AsyncSession, statement: Select[*tuple[Any, ...]]) -> list[RequestRow]:
    """Run a statement from `open_rows`."""
    return [_open(*row) for row in await session.execute(statement)]


async def read_ended(
    session: AsyncSession, statement: Select[*tuple[Any, ...]]
) -> list[RequestRow]:
    """Run a statement from `ended_rows`."""
    return [_ended(*row) for row in await session.execute(statement)]


def _open(hold: OpenHold, key: ApiKey, user_id: int | None, email: str, team: str) -> RequestRow:
    return RequestRow(
        entry_id=None,
        request_id=hold.request_id,
        account_id=hold.account_id,
        user_id=user_id,
        email=email,
        team=team,
        created_at=hold.created_at,
        ended_at=None,
        state="open",
        endpoint=hold.endpoint,
        model=hold.model,
        key=_key(key),
        hold=hold.amount,
        estimated_input=hold.estimated_input,
        estimated_output=hold.estimated_output,
        usage=None,
        charge=None,
        overrun=0,
        corrected_at=None,
        rates=None if hold.rates is None else rates_from(hold.rates),
        trace=UNTRACED,
    )


def _ended(  # noqa: PLR0913, PLR0917 - the columns of a row
    end: LedgerEntry,
    correction: LedgerEntry | None,
    rerated: int | None,
    rates: Mapping[str, object] | None,
    key: ApiKey,
    user_id: int | None,
    email: str,
    team: str,
) -> RequestRow:
    rows = [end] if correction is None else [end, correction]
    charged = end.state != "voided"
    newest = end.rates if rates is None else rates
    return RequestRow(
        entry_id=end.id,
        request_id=end.request_id or "",
        account_id=end.account_id,
        user_id=user_id,
        email=email,
        team=team,
        created_at=end.started_at or end.created_at,
        ended_at=end.created_at,
        state=end.state or "",
        endpoint=end.endpoint or "",
        model=end.model,
        key=_key(key),
        hold=end.hold or 0,
        estimated_input=end.estimated_input or 0,
        estimated_output=end.estimated_output or 0,
        usage=_usage(rows) if charged else None,
        charge=-sum(row.amount for row in rows) - int(rerated or 0) if charged else None,
        overrun=sum(row.overrun for row in rows),
        corrected_at=None if correction is None else correction.created_at,
        rates=None if newest is None else rates_from(newest),
        trace=_trace(rows),
    )


def _usage(rows: list[LedgerEntry]) -> Usage:
    """Sum a charge and its correction, which says whether the sum is an estimate."""
    quantities: Counter[str] = Counter()
    for row in rows:
        quantities.update(row.quantities or {})
    return Usage(quantities, sum(row.total for row in rows), rows[-1].estimated)


def _trace(rows: list[LedgerEntry]) -> Trace:
    """Read how it went; of an expired request only its correction knows."""
    traces = [Trace(*(getattr(row, name) for name in Trace._fields)) for row in rows]
    return next((trace for trace in traces if trace != UNTRACED), UNTRACED)


def _key(key: ApiKey) -> KeyRef:
    return KeyRef(key.id, key.prefix, key.name, key.kind)
