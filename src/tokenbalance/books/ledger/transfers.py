"""Transfers: credits that move from one account to another.

Two entries of the kind `transfer` with one id and opposite amounts, in the caller's transaction:
both or none. Never commits.

    moved        only credits without an end, in the order in which they are spent; as they arrive
                 without an end, moving others would make them last longer than they were granted
    never moved  what open holds reserve, and what only the overdraft would cover
    refused      what cannot be moved in full; nothing is taken then

Both accounts are locked first, in the order of their ids, in which whoever locks several does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import select

from tokenbalance.books.grants.purse import connection_of, open_purse
from tokenbalance.books.ledger.credits import (
    AmountNotPositive,
    CreditError,
    KeyReused,
    NewEntry,
    check_amount,
    check_balance,
    check_idempotency_key,
    check_note,
    enter,
    entry_of_key,
    lock_account,
)
from tokenbalance.books.ledger.entries import entry_of
from tokenbalance.database.tables import LedgerEntry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.grants.burning import Lot, Part
    from tokenbalance.books.grants.purse import Purse
    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.tables import Account


class AccountClosed(CreditError):
    """The account belongs to a team that was deleted: credits can only leave it."""


class SameAccount(CreditError):
    """Both accounts are the same."""


class TransferTooLarge(CreditError):
    """The account has fewer credits that can be moved."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Credits that were moved: the entries of both accounts."""

    sent: Entry
    received: Entry


async def transfer(  # noqa: PLR0913, PLR0917 - two accounts, and what every entry has
    session: AsyncSession,
    from_account_id: int,
    to_account_id: int,
    amount: int,
    cause: Cause,
    idempotency_key: str | None = None,
) -> Transfer:
    """Move credits to another account, once for each idempotency key of the first.

    Args:
        session: the caller's transaction.
        from_account_id: whose credits.
        to_account_id: where they go; they have no end there.
        amount: credits, at least 1.
        cause: who and why; the entries also name the other account.
        idempotency_key: chosen by the client; using it again returns the entries of the first time.

    Raises:
        TransferTooLarge: fewer credits can be moved.
        AccountClosed, SameAccount: nothing can be moved there.
        UnknownAccount: one of the accounts does not exist.
        KeyReused: the idempotency key was used before for another entry.
        CreditError: as for every entry.

    """
    if idempotency_key is not None:
        check_idempotency_key(idempotency_key)
    if amount <= 0:
        msg = "a transfer must be at least 1 credit"
        raise AmountNotPositive(msg)
    if from_account_id == to_account_id:
        msg = "credits must be moved to another account"
        raise SameAccount(msg)
    first, second = sorted((from_account_id, to_account_id))
    locked = {number: await lock_account(session, number) for number in (first, second)}
    sender, receiver = locked[from_account_id], locked[to_account_id]
    new = NewEntry(
        kind="transfer",
        amount=-amount,
        cause=cause,
        said=f"to account {to_account_id}",
        idempotency_key=idempotency_key,
        transfer_id=uuid4(),
    )
    if idempotency_key is not None:
        before = await entry_of_key(session, sender.id, idempotency_key)
        if before is not None:
            return await _made_before(session, before, new, receiver)
    check_amount(amount)
    if receiver.closed_at is not None:
        msg = f"account {receiver.id} is closed: no credits can be moved to it"
        raise AccountClosed(msg)
    return await _move(session, sender, receiver, new)


async def _move(
    session: AsyncSession, sender: Account, receiver: Account, new: NewEntry
) -> Transfer:
    purse = await open_purse(await connection_of(session), sender.id, begin=False)
    # All that may be refused, before anything is written.
    _require_movable(sender, purse, -new.amount)
    check_balance(-new.amount, receiver.balance - new.amount)
    check_note(new.cause.note)
    sent = await enter(session, sender, new)
    if purse is not None:
        purse.lots.note(sent.id, sent.balance_after, _take(purse, -new.amount))
        await purse.save()
        await session.refresh(sender)
    arriving = NewEntry(
        kind="transfer",
        amount=-new.amount,
        cause=new.cause,
        said=f"from account {sender.id}",
        transfer_id=new.transfer_id,
    )
    return Transfer(sent, await enter(session, receiver, arriving))


def _require_movable(sender: Account, purse: Purse | None, amount: int) -> None:
    """Refuse more than what has no end and is not reserved.

    Raises:
        TransferTooLarge: as it says.

    """
    credits_ = max(sender.balance, 0)
    lasting = credits_ if purse is None else sum(lot.remaining for lot in _lasting(purse))
    movable = max(min(lasting, sender.balance + sender.overdraft - sender.held), 0)
    if amount > movable:
        msg = (
            f"at most {movable:,} credits can be moved: the balance is {sender.balance:,}, of which"
            f" {credits_ - lasting:,} have an end, and requests in flight hold {sender.held:,}"
        )
        raise TransferTooLarge(msg)


def _take(purse: Purse, amount: int) -> list[Part]:
    """Take credits without an end."""
    parts: list[Part] = []
    for lot in _lasting(purse):
        taken = min(lot.remaining, amount)
        lot.remaining -= taken
        amount -= taken
        if taken:
            parts.append((lot.id, taken))
    return parts


def _lasting(purse: Purse) -> list[Lot]:
    """List what has no end, first what is spent first."""
    return [lot for lot in purse.lots.in_order() if lot.expires_at is None]


async def _made_before(
    session: AsyncSession, sent: LedgerEntry, new: NewEntry, receiver: Account
) -> Transfer:
    """Return the transfer that an idempotency key has made; both accounts are locked.

    Raises:
        KeyReused: it was another one, or no transfer.

    """
    received = None
    if (sent.kind, sent.amount, sent.note) == (new.kind, new.amount, new.note):
        received = await session.scalar(
            select(LedgerEntry).where(
                LedgerEntry.transfer_id == sent.transfer_id, LedgerEntry.account_id == receiver.id
            )
        )
    if received is None:
        msg = "this idempotency key was used before, with another account, amount or note"
        raise KeyReused(msg)
    return Transfer(entry_of(sent), entry_of(received))
