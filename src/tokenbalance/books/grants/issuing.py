"""Grants that people make: credits with an end or a priority, as one entry and one grant.

The rules of `credits` hold here as well: once for each idempotency key, under the account's lock,
in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from tokenbalance.books.grants.burning import PRIORITY, Lot
from tokenbalance.books.grants.due import bring_up_to_date, settle_up
from tokenbalance.books.grants.purse import connection_of, open_purse
from tokenbalance.books.ledger.credits import (
    AmountNotPositive,
    CreditError,
    KeyReused,
    NewEntry,
    check_amount,
    check_idempotency_key,
    enter,
    enter_once,
    entry_of_key,
    lock_account,
)
from tokenbalance.database.tables import Burn, Grant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.grants.purse import Purse
    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.tables import Account

PRIORITY_MAX: Final = 100


class EndInvalid(CreditError):
    """The end is not in the future."""


class PriorityOutOfRange(CreditError):
    """The priority is negative or too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrant:
    """Credits to grant."""

    amount: int
    expires_at: datetime | None = None
    """Requests that begin at or after it cannot spend it; None: it has no end."""
    priority: int = PRIORITY
    """0 to 100; a lower one is spent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow:
    """A grant, detached from any session. Amounts are credits."""

    id: int
    """That of its ledger entry."""
    amount: int
    remaining: int
    priority: int
    expires_at: datetime | None
    created_at: datetime
    note: str
    allowance_id: int | None
    """The allowance that has issued it; None: people did."""


async def issue(
    session: AsyncSession,
    account_id: int,
    new: NewGrant,
    cause: Cause,
    idempotency_key: str | None = None,
) -> Entry:
    """Grant credits, once for each idempotency key if there is one.

    Returns:
        The entry; its id is that of the grant.

    Raises:
        EndInvalid: the end has passed.
        PriorityOutOfRange: the priority is not 0 to 100.
        CreditError: as for every entry.

    """
    if idempotency_key is not None:
        check_idempotency_key(idempotency_key)
    if new.amount <= 0:
        msg = "a grant must be at least 1 credit"
        raise AmountNotPositive(msg)
    if not 0 <= new.priority <= PRIORITY_MAX:
        msg = f"a priority must be 0 to {PRIORITY_MAX}"
        raise PriorityOutOfRange(msg)
    account = await lock_account(session, account_id)
    entry = NewEntry(kind="grant", amount=new.amount, cause=cause, idempotency_key=idempotency_key)
    if idempotency_key is not None:
        before = await entry_of_key(session, account_id, idempotency_key)
        if before is not None:
            await _require_same(session, account_id, before.id, new)
            return await enter_once(session, account, entry, before)
    check_amount(new.amount)
    return await _issue(session, account, new, entry)


async def _issue(session: AsyncSession, account: Account, new: NewGrant, entry: NewEntry) -> Entry:
    purse = await opened(session, account)
    if new.expires_at is not None and new.expires_at <= purse.now:
        msg = "the end of a grant must be in the future"
        raise EndInvalid(msg)
    made = await enter(session, account, entry)
    purse.issue(
        Lot(
            made.id,
            new.amount,
            new.amount,
            new.priority,
            new.expires_at,
            note=entry.cause.note,
        )
    )
    await purse.save()
    await session.refresh(account)
    return made


async def opened(session: AsyncSession, account: Account) -> Purse:
    """Open the purse of a locked account, which has grants of its own from then on."""
    purse = await open_purse(await connection_of(session), account.id, begin=True)
    if purse is None:
        msg = f"account {account.id} is locked and does not exist"
        raise LookupError(msg)
    await settle_up(purse)
    await session.refresh(account)
    return purse


async def grants_of(session: AsyncSession, account_id: int) -> Sequence[GrantRow]:
    """List what remains of an account's grants, first what is spent first.

    Enters what is due first. Nothing if the account never had a grant with an end, a priority or an
    allowance: its balance has no end.
    """
    has_grants = await session.scalar(
        select(Burn.account_id).where(Burn.account_id == account_id).limit(1)
    )
    if has_grants is None:
        return ()
    await bring_up_to_date(session, account_id)
    rows = await session.scalars(
        select(Grant)
        .where(Grant.account_id == account_id, Grant.remaining > 0)
        .order_by(Grant.priority, Grant.expires_at, Grant.id)
        .execution_options(populate_existing=True)
    )
    return [_row(row) for row in rows]


async def _require_same(
    session: AsyncSession, account_id: int, entry_id: int, new: NewGrant
) -> None:
    grant = await session.get(Grant, (account_id, entry_id))
    if grant is None or (grant.expires_at, grant.priority) != (new.expires_at, new.priority):
        msg = "this idempotency key was used before, with another amount, end, priority or note"
        raise KeyReused(msg)


def _row(grant: Grant) -> GrantRow:
    return GrantRow(
        id=grant.id,
        amount=grant.amount,
        remaining=grant.remaining,
        priority=grant.priority,
        expires_at=grant.expires_at,
        created_at=grant.created_at,
        note=grant.note,
        allowance_id=grant.allowance_id,
    )
