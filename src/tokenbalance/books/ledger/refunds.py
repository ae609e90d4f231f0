"""Refunds: what a request was charged, or a part of it, given back.

The rules of `credits` hold here as well. A request is never refunded more than it cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, union_all

from tokenbalance.books.ledger.credits import (
    AmountNotPositive,
    NewEntry,
    NothingToRefund,
    RefundTooLarge,
    UnknownRequest,
    check_idempotency_key,
    enter,
    enter_once,
    entry_of_key,
    lock_account,
)
from tokenbalance.books.reports.lookups import is_after_an_end
from tokenbalance.database.tables import LedgerEntry, OpenHold

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.books.ledger.entries import Entry


async def refund(session: AsyncSession, request_id: str, amount: int | None, cause: Cause) -> Entry:
    """Refund what a request was charged, or a part of it; never more than it cost.

    Args:
        session: the caller's transaction.
        request_id: which request.
        amount: credits; None: all that is left of the charge after its correction, rerates and
            earlier refunds.
        cause: who and why.

    Raises:
        CreditError: as drawn above.

    """
    _check_refund(amount)
    # The lock first, so that the second of two refunds sees what the first has left.
    account = await lock_account(session, await _account_of(session, request_id))
    credits_back = await _refundable(session, request_id, amount)
    new = NewEntry(kind="refund", amount=credits_back, cause=cause, request_id=request_id)
    return await enter(session, account, new)


async def refund_once(
    session: AsyncSession, request_id: str, amount: int | None, cause: Cause, idempotency_key: str
) -> Entry:
    """Refund as `refund` does, but only once for each idempotency key.

    Args:
        session: the caller's transaction.
        request_id: which request.
        amount: credits; None: all that is left.
        cause: who and why.
        idempotency_key: chosen by the client; using it again returns the entry of the first time.

    Raises:
        InvalidIdempotencyKey: it is not 1 to 255 printable ASCII characters.
        KeyReused: it was used before for another entry.
        CreditError: as drawn above.

    """
    check_idempotency_key(idempotency_key)
    _check_refund(amount)
    account = await lock_account(session, await _account_of(session, request_id))
    before = await entry_of_key(session, account.id, idempotency_key)
    if before is not None:
        # Without an amount, the entry of the first time was all that was left.
        credits_back = before.amount if amount is None else amount
    else:
        credits_back = await _refundable(session, request_id, amount)
    new = NewEntry(
        kind="refund",
        amount=credits_back,
        cause=cause,
        request_id=request_id,
        idempotency_key=idempotency_key,
    )
    return await enter_once(session, account, new, before)


async def _account_of(session: AsyncSession, request_id: str) -> int:
    query = union_all(
        select(OpenHold.account_id).where(OpenHold.request_id == request_id, OpenHold.amount > 0),
        select(LedgerEntry.account_id).where(
            LedgerEntry.request_id == request_id, LedgerEntry.state.is_not(None)
        ),
    )
    # Text that Postgres cannot hold is no request's id, and not worth a query.
    account_id = await session.scalar(query) if request_id.isprintable() else None
    if account_id is None:
        msg = f"no request has the id {request_id!a}"
        raise UnknownRequest(msg)
    return account_id


async def _refundable(session: AsyncSession, request_id: str, amount: int | None) -> int:
    """Credits to refund: the amount, or all that is left of charge and correction after refunds."""
    left = await _left_of_charge(session, request_id)
    if left is None:
        msg = f"request {request_id} was never charged"
        raise NothingToRefund(msg)
    if left <= 0:
        msg = f"nothing is left to refund of request {request_id}"
        raise NothingToRefund(msg)
    if amount is not None and amount > left:
        msg = f"only {left:,} credits are left to refund of request {request_id}"
        raise RefundTooLarge(msg)
    return amount or left


async def _left_of_charge(session: AsyncSession, request_id: str) -> int | None:
    """Credits that are left of a charge after all that came later; None: no charge."""
    of_request = select(LedgerEntry.amount).where(LedgerEntry.request_id == request_id)
    charge = await session.scalar(
        of_request.where(LedgerEntry.state.is_not(None), LedgerEntry.kind == "charge")
    )
    if charge is None:
        return None
    later = await session.scalars(of_request.where(is_after_an_end()))
    return -charge - sum(later)


def _check_refund(amount: int | None) -> None:
    if amount is not None and amount <= 0:
        msg = "a refund must be at least 1 credit"
        raise AmountNotPositive(msg)
