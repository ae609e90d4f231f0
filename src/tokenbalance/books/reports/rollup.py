"""Sums usage up by day, so that reports take no longer as the books grow.

All usage before one moment, `UsageSummed.until`, is in the sums; readers add what was written
since. Each step moves that moment forward, to at most the next midnight, in one short transaction
that locks its row: one replica does it, once.

Nothing should be written before that moment, so it stays minutes behind the clock, and behind all
transactions that have written and are not over. If a row is written with an earlier time anyway, a
trigger notes its day in `UsageChange`, and readers read the ledger's rows of such a day until it is
summed again. No row ever changes. Writes only the sums; knows nothing of their readers.
"""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import (
    BigInteger,
    Date,
    Text,
    column,
    delete,
    func,
    inspect,
    literal,
    select,
    table,
    true,
    update,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.books.reports.overview import TOP_DAYS
from tokenbalance.books.reports.period import DAY, EARLIEST, midnight
from tokenbalance.books.reports.sums import HAS_USAGE, MODEL, amounts_of_usage, summed
from tokenbalance.database.connections import is_unavailable
from tokenbalance.database.tables import (
    LedgerEntry,
    TopAccount,
    UsageChange,
    UsageDay,
    UsageDayKind,
    UsageSummed,
    UsageTotal,
    UsageTotalKind,
)

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions

    _Sums: TypeAlias = UsageDay | UsageDayKind | UsageTotal | UsageTotalKind

logger = logging.getLogger(__name__)

PERIOD_S: Final = 300.0
LATE: Final = timedelta(minutes=5)
"""How far the sums stay behind the database's clock; much more than the trigger's minute."""
TOP_ACCOUNTS: Final = 20
_STEP_MIN: Final = timedelta(seconds=1)
_UNDER_WAY = table(
    "pg_stat_activity",
    column("datname"),
    column("pid"),
    column("backend_xid"),
    column("xact_start"),
)


class RollUp:
    """Keeps the sums up to date."""

    def __init__(self, sessions: Sessions, period_s: float = PERIOD_S) -> None:
        self._sessions = sessions
        self._period_s = period_s

    async def run(self) -> None:
        """Sum up at once and then periodically, until cancelled; no error ends it."""
        while True:
            try:
                await self.catch_up()
            except Exception as error:
                if is_unavailable(error):
                    logger.warning("cannot sum up usage now: %s", type(error).__name__)
                else:
                    logger.exception("usage cannot be summed up")
            await asyncio.sleep(self._period_s)

    async def catch_up(self) -> None:
        """Sum up all that is possible, day by day, unless another replica does."""
        done = False
        while await self.step():
            done = True
        if done:
            async with self._sessions.begin() as session:
                await _find_top_accounts(session)

    async def step(self) -> bool:
        """Sum a changed day again, or go on by at most a day; False if there is nothing to do."""
        async with self._sessions.begin() as session:
            if (until := await _take(session)) is None:
                return False
            day = await session.scalar(select(UsageChange.day).order_by(UsageChange.day).limit(1))
            if day is not None:
                await _sum_anew(session, day, until)
                return True
            return await _go_on(session, until)


async def _take(session: AsyncSession) -> datetime | None:
    """Read and lock how far the sums are; None while another replica sums up."""
    row = select(UsageSummed.until).with_for_update(skip_locked=True)
    return await session.scalar(row)


async def _sum_anew(session: AsyncSession, day: date, until: datetime) -> None:
    # The marks first: a later change leaves a new one.
    for sums in (UsageChange, UsageDay, UsageDayKind, UsageTotal, UsageTotalKind):
        await session.execute(delete(sums).where(sums.day == day))
    await _add(session, midnight(day), min(midnight(day) + DAY, until))


async def _go_on(session: AsyncSession, until: datetime) -> bool:
    end = (await session.scalars(_settled_until())).one()
    start = until
    if until == EARLIEST:
        first = await session.scalar(_first())
        start = end if first is None else min(first, end)
    start = start.astimezone(UTC)
    end = min(end, midnight(start.date()) + DAY)
    if end - until < _STEP_MIN:
        return False
    await _add(session, start, end)
    await session.execute(update(UsageSummed).values(until=end))
    return True


def _settled_until() -> Select[datetime]:
    """Build the moment before which nothing is written any more.

    A statement of its own: later ones, which read the ledger, see everything written by then.
    """
    writers = select(func.min(_UNDER_WAY.c.xact_start)).where(
        _UNDER_WAY.c.datname == func.current_database(),
        _UNDER_WAY.c.pid != func.pg_backend_pid(),
        _UNDER_WAY.c.backend_xid.is_not(None),
    )
    # `least` ignores nulls.
    return select(func.least(func.now() - LATE, writers.scalar_subquery()))


def _first() -> Select[datetime | None]:
    """Build the first day on which a request ended."""
    first = select(func.min(LedgerEntry.created_at)).where(LedgerEntry.key_id.is_not(None))
    return select(func.date_trunc("day", first.scalar_subquery(), "UTC"))


async def _add(session: AsyncSession, start: datetime, end: datetime) -> None:
    """Add the rows between two moments of one day to the sums."""
    if start >= end:
        return
    day = literal(start.date(), Date).label("day")
    rows = select(day).where(LedgerEntry.created_at >= start, LedgerEntry.created_at < end)
    by_key = (LedgerEntry.account_id, MODEL, LedgerEntry.key_id)
    used = rows.add_columns(*summed(amounts_of_usage())).where(HAS_USAGE)
    await _enter(session, UsageDay, used.add_columns(*by_key).group_by(*by_key))
    await _enter(session, UsageTotal, used.add_columns(MODEL).group_by(MODEL))
    kinds = _by_kind(rows)
    await _enter(session, UsageDayKind, kinds.add_columns(*by_key).group_by(*by_key))
    await _enter(session, UsageTotalKind, kinds.add_columns(MODEL).group_by(MODEL))
    voided = rows.add_columns(func.count().label("voided")).where(LedgerEntry.kind == "void")
    await _enter(session, UsageTotal, voided.add_columns(MODEL).group_by(MODEL))


def _by_kind(rows: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Sum the quantities of rows by kind, whatever the kinds are."""
    part = (
        func.jsonb_each_text(LedgerEntry.quantities)
        .table_valued(column("kind", Text), column("quantity", Text))
        .render_derived("part")
    )
    quantity = as_type(func.sum(as_type(part.c.quantity, BigInteger)), BigInteger)
    return (
        rows.add_columns(part.c.kind, quantity.label("quantity"))
        .select_from(LedgerEntry)
        .join(part, true())
        .where(HAS_USAGE)
        .group_by(part.c.kind)
    )


async def _enter(session: AsyncSession, sums: type[_Sums], rows: Select[*tuple[Any, ...]]) -> None:
    names = rows.selected_columns.keys()
    entered = insert(sums).from_select(names, rows)
    keys = [column.name for column in inspect(sums).primary_key]
    more = {
        name: getattr(sums, name) + entered.excluded[name] for name in names if name not in keys
    }
    await session.execute(entered.on_conflict_do_update(index_elements=keys, set_=more))


async def _find_top_accounts(session: AsyncSession) -> None:
    if await _take(session) is None:
        return
    await session.execute(delete(TopAccount))
    today = as_type(func.timezone("UTC", func.now()), Date)
    for days in TOP_DAYS:
        top = (
            select(literal(days), UsageDay.account_id)
            .where(UsageDay.day > today - days)
            .group_by(UsageDay.account_id)
            .order_by(func.sum(UsageDay.charge).desc(), UsageDay.account_id)
            .limit(TOP_ACCOUNTS)
        )
        await session.execute(insert(TopAccount).from_select(["days", "account_id"], top))
