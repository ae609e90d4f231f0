"""The state of everything at a glance, for operators. Writes nothing."""

# Columns are picked by name; the classes that rows become have the types.
# pyright: reportAny=false, reportExplicitAny=false

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Date, func, literal_column, select
from sqlalchemy import cast as cast_type

from tokenbalance.books.reports.grouped import sums_by, without_compiling
from tokenbalance.books.reports.period import Period, midnight
from tokenbalance.books.reports.source import Places, Source, after, find_places, summed_until
from tokenbalance.books.reports.sums import HAS_USAGE, Sums, add_up, read_sums
from tokenbalance.database.tables import (
    Account,
    LedgerEntry,
    OpenHold,
    TopAccount,
    UsageTotal,
    User,
)
from tokenbalance.database.whose import EMAIL, TEAM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from sqlalchemy.ext.asyncio import AsyncSession

_TOP: Final = 10
TOP_DAYS: Final = (7, 30, 90)
"""Days for which the accounts with the most usage are stored."""


@dataclass(frozen=True, slots=True)
class DayTotals:
    """The usage of one day, in UTC."""

    day: date
    sums: Sums
    voided: int
    """Requests that failed and cost nothing."""


@dataclass(frozen=True, slots=True)
class TopUser:
    """A user or a team with the most usage in the period: one account."""

    account_id: int
    user_id: int | None
    """None: a team."""
    email: str
    """Empty: a team."""
    team: str
    """Its name; empty: a user."""
    sums: Sums


@dataclass(frozen=True, slots=True)
class TopModel:
    """A model with the most usage in the period."""

    model: str | None
    """None: requests without a model."""
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Balances and holds now, and the usage of the last days."""

    balance: int
    """Credits outstanding: the sum of all balances."""
    held: int
    accounts: int
    users: int
    open_holds: int
    open_credits: int
    """The sum of the open holds."""
    oldest_open: datetime | None
    """When the oldest open hold was placed."""
    days: Sequence[DayTotals]
    """Every day of the period, oldest first, including days without usage."""
    sums: Sums
    """Of all days, including overruns and estimated charges."""
    voided: int
    top_users: Sequence[TopUser]
    """By credits charged, largest first."""
    top_models: Sequence[TopModel]


async def overview(session: AsyncSession, days: int = 30) -> Overview:
    """Read the state of everything.

    Args:
        session: the caller's.
        days: of the period, today included.

    """
    await without_compiling(session)
    today = (await session.scalars(select(func.timezone("UTC", func.now())))).one().date()
    since = today - timedelta(days=days - 1)
    period = Period(midnight(since))
    places = await find_places(session, period)
    by_day = await _by(session, Source(("day",), None, period, places))
    voided = await _voided(session, since, places)
    every = [since + timedelta(days=number) for number in range(days)]
    daily = [DayTotals(day, by_day.get(day, Sums()), voided.get(day, 0)) for day in every]
    return Overview(
        **await _now(session),
        days=daily,
        sums=add_up([each.sums for each in daily]),
        voided=sum(each.voided for each in daily),
        top_users=await _top_users(session, period, places, days),
        top_models=await _top_models(session, period, places),
    )


async def _now(session: AsyncSession) -> dict[str, Any]:
    """Read what does not depend on the period."""
    sums = func.coalesce(func.sum(Account.balance), 0), func.coalesce(func.sum(Account.held), 0)
    balance, held, accounts = (await session.execute(select(*sums, func.count(Account.id)))).one()
    open_holds = select(
        func.count(),
        func.coalesce(func.sum(OpenHold.amount), 0),
        func.min(OpenHold.created_at),
    ).where(OpenHold.amount > 0)
    number, credits_held, oldest = (await session.execute(open_holds)).one()
    return {
        "balance": int(balance),
        "held": int(held),
        "accounts": accounts,
        "users": (await session.scalars(select(func.count()).select_from(User))).one(),
        "open_holds": number,
        "open_credits": int(credits_held),
        "oldest_open": oldest,
    }


async def _by(session: AsyncSession, source: Source) -> dict[Any, Sums]:
    """Read sums by the one column of a source."""
    (name,) = source.columns
    rows = (await session.execute(sums_by(source))).mappings()
    return {row[name]: read_sums(row) for row in rows}


async def _voided(session: AsyncSession, since: date, places: Places) -> dict[date, int]:
    """Count the requests that cost nothing, by the day they ended."""
    start = func.greatest(summed_until(), midnight(since))
    ended = cast_type(func.timezone("UTC", LedgerEntry.created_at), Date).label("day")
    not_summed = select(ended, literal_column("1", BigInteger).label("voided")).where(
        LedgerEntry.kind == "void", after(start, places.live)
    )
    rows = select(UsageTotal.day, UsageTotal.voided).where(UsageTotal.day >= since)
    rows = rows.union_all(not_summed).subquery("rows")
    found = await session.execute(select(rows.c.day, func.sum(rows.c.voided)).group_by(rows.c.day))
    return {day: int(number) for day, number in found}


async def _top_models(session: AsyncSession, period: Period, places: Places) -> list[TopModel]:
    models = await _by(session, Source(("model",), None, period, places))
    first = sorted(models, key=lambda model: (-models[model].charge, model))[:_TOP]
    return [TopModel(model or None, models[model]) for model in first]


async def _top_users(
    session: AsyncSession, period: Period, places: Places, days: int
) -> list[TopUser]:
    """Read the top users, from the accounts of the last summary and those active since."""
    window = min((each for each in TOP_DAYS if each >= days), default=max(TOP_DAYS))
    found = select(TopAccount.account_id).where(TopAccount.days == window)
    since = func.greatest(summed_until(), period.start)
    lately = (
        select(LedgerEntry.account_id)
        .where(after(since, places.live), HAS_USAGE)
        .group_by(LedgerEntry.account_id)
        .order_by(func.sum(LedgerEntry.amount), LedgerEntry.account_id)
        .limit(_TOP)
    )
    accounts = {*await session.scalars(found), *await session.scalars(lately)}
    if not accounts:
        return []
    sums = await _by(session, Source(("account_id",), tuple(sorted(accounts)), period, places))
    first = sorted(sums, key=lambda account: (-sums[account].charge, account))[:_TOP]
    payers = select(Account.id, User.id, EMAIL, TEAM).outerjoin(User, User.id == Account.user_id)
    named = {row[0]: row for row in await session.execute(payers.where(Account.id.in_(first)))}
    return [TopUser(each, *named[each][1:], sums[each]) for each in first]
