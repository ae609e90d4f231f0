"""Allowances that people make: rules that issue a grant each period.

A new allowance issues the current period at once, unless it starts later. A change counts from the
next period on; what has been issued stays until its end, also when the allowance is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import func, select

from tokenbalance.books.grants.calendar import Every, period_at
from tokenbalance.books.grants.due import settle_up
from tokenbalance.books.grants.issuing import opened
from tokenbalance.books.grants.purse import Rule
from tokenbalance.books.ledger.credits import (
    CREDITS_MAX,
    AmountNotPositive,
    Cause,
    CreditError,
    check_amount,
    check_note,
    lock_account,
)
from tokenbalance.database.tables import Allowance
from tokenbalance.events import Subject, changed, record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.grants.purse import Purse
    from tokenbalance.database.tables import Account
    from tokenbalance.events import Change
    from tokenbalance.model import Json

NEWEST: Final = datetime.max.replace(tzinfo=UTC)


class AllowanceEndInvalid(CreditError):
    """The end has passed, or is not after the start."""


class RolloverOutOfRange(CreditError):
    """What is to be carried over is negative or too large."""


class UnknownAllowance(CreditError):
    """The account has no allowance with this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAllowance:
    """A rule to be made."""

    amount: int
    """Credits each period."""
    every: Every
    starts_at: datetime | None = None
    """From which periods are counted; None: they are those of the calendar, from now on."""
    ends_at: datetime | None = None
    """No period that begins at or after it is issued."""
    rollover_max: int = 0
    """Credits that are carried over into the next period at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceRow:
    """An allowance, detached from any session. Amounts are credits."""

    id: int
    amount: int
    every: Every
    starts_at: datetime | None
    ends_at: datetime | None
    rollover_max: int
    next_at: datetime | None
    """When it issues the next grant; None: never again."""
    created_at: datetime
    created_by: str
    note: str


async def create(
    session: AsyncSession, account_id: int, new: NewAllowance, cause: Cause
) -> AllowanceRow:
    """Make an allowance, and issue its current period if it has started.

    Raises:
        CreditError: an amount or a time is refused.

    """
    _check(new.amount, new.rollover_max)
    check_note(cause.note)
    account = await lock_account(session, account_id)
    purse = await opened(session, account)
    if new.ends_at is not None and new.ends_at <= max(new.starts_at or purse.now, purse.now):
        msg = "an allowance must end in the future, and after its start"
        raise AllowanceEndInvalid(msg)
    row = Allowance(
        account_id=account_id,
        amount=new.amount,
        every=new.every,
        starts_at=new.starts_at,
        ends_at=new.ends_at,
        rollover_max=new.rollover_max,
        next_at=_first(purse, new),
        created_by=cause.actor.name,
        note=cause.note,
    )
    session.add(row)
    await session.flush()
    _record(session, cause, account, row, "allowance.created", amount=row.amount, every=row.every)
    purse.rules.append(_rule(row))
    return await _save(session, purse, account, row)


async def change(
    session: AsyncSession,
    account_id: int,
    allowance_id: int,
    changes: Mapping[str, int | datetime | None],
    cause: Cause,
) -> AllowanceRow:
    """Change an allowance from its next period on.

    Args:
        session: the caller's transaction.
        account_id: whose.
        allowance_id: which.
        changes: new values of `amount`, `rollover_max` and `ends_at`, by name.
        cause: who.

    Raises:
        UnknownAllowance: there is none, or it was removed.
        CreditError: a value is refused.

    """
    account = await lock_account(session, account_id)
    purse = await opened(session, account)
    row = await _find(session, account_id, allowance_id)
    before = _terms(row)
    for name, value in changes.items():
        setattr(row, name, value)
    _check(row.amount, row.rollover_max)
    row.next_at = _next(purse, row)
    await session.flush()
    after = _terms(row)
    details = {
        name: changed(old, after[name]) for name, old in before.items() if old != after[name]
    }
    if details:
        _record(session, cause, account, row, "allowance.changed", **details)
    purse.rules[:] = [rule for rule in purse.rules if rule.id != row.id]
    if row.next_at is not None:
        purse.rules.append(_rule(row))
    return await _save(session, purse, account, row)


async def remove(
    session: AsyncSession, account_id: int, allowance_id: int, cause: Cause
) -> AllowanceRow:
    """Remove an allowance: it issues nothing any more.

    Raises:
        UnknownAllowance: there is none, or it was removed.

    """
    account = await lock_account(session, account_id)
    purse = await opened(session, account)
    row = await _find(session, account_id, allowance_id)
    row.next_at = None
    row.removed_at = func.clock_timestamp()
    await session.flush()
    _record(session, cause, account, row, "allowance.removed", amount=row.amount, every=row.every)
    purse.rules[:] = [rule for rule in purse.rules if rule.id != row.id]
    return await _save(session, purse, account, row)


async def allowances_of(session: AsyncSession, account_id: int) -> Sequence[AllowanceRow]:
    """List the allowances of an account that were not removed, the oldest first."""
    rows = await session.scalars(
        select(Allowance)
        .where(Allowance.account_id == account_id, Allowance.removed_at.is_(None))
        .order_by(Allowance.id)
        .execution_options(populate_existing=True)
    )
    return [_row(row) for row in rows]


async def _save(
    session: AsyncSession, purse: Purse, account: Account, row: Allowance
) -> AllowanceRow:
    await settle_up(purse)
    await purse.save()
    await session.refresh(account)
    await session.refresh(row)
    return _row(row)


async def _find(session: AsyncSession, account_id: int, allowance_id: int) -> Allowance:
    row = await session.get(Allowance, (account_id, allowance_id), populate_existing=True)
    if row is None or row.removed_at is not None:
        msg = f"the account has no allowance {allowance_id}"
        raise UnknownAllowance(msg)
    return row


def _first(purse: Purse, new: NewAllowance) -> datetime:
    """When the first period begins: the current one, or that of the start."""
    if new.starts_at is not None and new.starts_at > purse.now:
        return new.starts_at
    return period_at(purse.now, new.every, new.starts_at, purse.zone).start


def _next(purse: Purse, row: Allowance) -> datetime | None:
    """When a changed allowance issues the next period."""
    next_at = row.next_at
    if next_at is None:
        every = cast("Every", row.every)
        next_at = period_at(purse.now, every, row.starts_at, purse.zone).end
    return None if row.ends_at is not None and row.ends_at <= next_at else next_at


def _check(amount: int, rollover_max: int) -> None:
    if amount <= 0:
        msg = "an allowance must be at least 1 credit"
        raise AmountNotPositive(msg)
    check_amount(amount)
    if not 0 <= rollover_max <= CREDITS_MAX:
        msg = f"what is carried over must be 0 to {CREDITS_MAX:,} credits"
        raise RolloverOutOfRange(msg)


def _rule(row: Allowance) -> Rule:
    return Rule(
        row.id,
        row.amount,
        cast("Every", row.every),
        row.starts_at,
        row.ends_at,
        row.rollover_max,
        row.next_at or NEWEST,
        row.note,
    )


def _row(row: Allowance) -> AllowanceRow:
    return AllowanceRow(
        id=row.id,
        amount=row.amount,
        every=cast("Every", row.every),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        rollover_max=row.rollover_max,
        next_at=row.next_at,
        created_at=row.created_at,
        created_by=row.created_by,
        note=row.note,
    )


def _record(
    session: AsyncSession,
    cause: Cause,
    account: Account,
    row: Allowance,
    event: Change,
    **details: Json,
) -> None:
    subject = Subject(user_id=account.user_id, account_id=account.id)
    record(session, cause.actor, event, subject, allowance=row.id, note=cause.note, **details)


def _terms(row: Allowance) -> dict[str, Json]:
    """What may be changed, as an event shows it."""
    return {
        "amount": row.amount,
        "rollover_max": row.rollover_max,
        "ends_at": None if row.ends_at is None else row.ends_at.isoformat(),
    }
