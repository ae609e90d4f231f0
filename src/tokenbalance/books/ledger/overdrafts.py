"""Overdrafts: how far below zero the holds of an account may go.

Under the account's lock, so that no hold can take what is about to be withdrawn. A change is an
entry of 0 credits in the ledger, which says who made it, when and why. Never commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.books.ledger.credits import (
    CREDITS_MAX,
    NewEntry,
    OverdraftInUse,
    OverdraftOutOfRange,
    enter,
    lock_account,
    set_balance,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.tables import Account


async def set_overdraft(
    session: AsyncSession, account_id: int, overdraft: int, cause: Cause
) -> Entry:
    """Set the overdraft of an account, in credits.

    Returns:
        The entry of 0 credits.

    Raises:
        OverdraftOutOfRange: it is negative or too large.
        OverdraftInUse: the balance less what is held is already lower.
        CreditError: as for every entry.

    """
    account = await lock_account(session, account_id)
    _check(account, overdraft)
    said = f"overdraft set from {account.overdraft:,} to {overdraft:,}"
    account.overdraft = overdraft
    return await enter(session, account, NewEntry(kind="set", amount=0, cause=cause, said=said))


async def set_balance_and_overdraft(
    session: AsyncSession, account_id: int, target: int, overdraft: int, cause: Cause
) -> Entry:
    """Set both, in the order in which both are possible.

    Returns:
        The entry of the balance.

    Raises:
        CreditError: as for each of them.

    """
    account = await lock_account(session, account_id)
    if overdraft >= account.overdraft:
        _ = await set_overdraft(session, account_id, overdraft, cause)
        return await set_balance(session, account_id, target, cause)
    entry = await set_balance(session, account_id, target, cause)
    _ = await set_overdraft(session, account_id, overdraft, cause)
    return entry


def _check(account: Account, overdraft: int) -> None:
    if not 0 <= overdraft <= CREDITS_MAX:
        msg = f"an overdraft must be 0 to {CREDITS_MAX:,} credits"
        raise OverdraftOutOfRange(msg)
    # An account that is too low already need not be covered, but must not get worse.
    least = min(max(account.held - account.balance, 0), account.overdraft)
    if overdraft < least:
        msg = (
            f"the overdraft must be at least {least:,} credits: the balance is"
            f" {account.balance:,}, and requests in flight hold {account.held:,}"
        )
        raise OverdraftInUse(msg)
