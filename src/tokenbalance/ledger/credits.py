"""Entries that people make: grants, top-ups, adjustments, and setting a balance.

Each locks the account's row, so that the balance it writes follows from the one before, and adds
one ledger entry, in the caller's transaction. Never commits, never touches holds.

    CreditError
    |-- AmountNotPositive
    |-- AmountZero
    |-- AmountTooLarge
    |-- BalanceTooLow
    |-- InvalidNote
    `-- UnknownAccount
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func

from tokenbalance.database.tables import Account, LedgerEntry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

CREDITS_MAX: Final = 2**53 - 1
"""Largest amount and balance: what every JSON reader takes for the integer that it is."""
NOTE_CHARS_MAX: Final = 500


class CreditError(Exception):
    """The entry is refused and nothing was written; the message is one line for people."""


class AmountNotPositive(CreditError):
    """A grant gives; it never takes."""


class AmountZero(CreditError):
    """Adding nothing changes nothing."""


class AmountTooLarge(CreditError):
    """The amount, or the balance it would lead to, is beyond what JSON readers keep exact."""


class BalanceTooLow(CreditError):
    """The balance would fall below what the account may be overdrawn by."""


class InvalidNote(CreditError):
    """A note with control characters, or a very long one."""


class UnknownAccount(CreditError):
    """No account has this id."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who made an entry, and why."""

    actor: str
    """`cli`, or a user's e-mail."""
    note: str = ""


async def grant(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> LedgerEntry:
    """Give credits, as when an account is opened.

    Raises:
        CreditError: as drawn above.

    """
    if amount <= 0:
        msg = "a grant is at least 1 credit"
        raise AmountNotPositive(msg)
    account = await _lock(session, account_id)
    return await _enter(session, account, "grant", amount, cause)


async def add(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> LedgerEntry:
    """Add credits (a top-up), or take some away when the amount is negative (an adjustment).

    Raises:
        CreditError: as drawn above.

    """
    if amount == 0:
        msg = "an amount of 0 changes nothing"
        raise AmountZero(msg)
    account = await _lock(session, account_id)
    kind = "top-up" if amount > 0 else "adjustment"
    return await _enter(session, account, kind, amount, cause)


async def set_balance(
    session: AsyncSession, account_id: int, target: int, cause: Cause
) -> LedgerEntry:
    """Make the balance what it should be, by an entry of the difference.

    There is an entry even where nothing differs, of 0 credits: that somebody set the balance to
    this value at this time is worth as much in a dispute as a change would be, and one act is
    always one entry.

    Raises:
        CreditError: as drawn above.

    """
    account = await _lock(session, account_id)
    return await _enter(session, account, "set", target - account.balance, cause)


async def _lock(session: AsyncSession, account_id: int) -> Account:
    """Read the account as it is now, and keep holds and settlements waiting until the commit."""
    account = await session.get(
        Account,
        account_id,
        # The strength of an ordinary UPDATE, which does not block references to the row.
        with_for_update={"key_share": True},
        populate_existing=True,
    )
    if account is None:
        msg = f"no account has the id {account_id}"
        raise UnknownAccount(msg)
    return account


async def _enter(
    session: AsyncSession, account: Account, kind: str, amount: int, cause: Cause
) -> LedgerEntry:
    balance = account.balance + amount
    _check_amount(amount, balance)
    _check_note(cause.note)
    # Open holds do not count: taking away what they reserve makes `available` negative, and the
    # requests under way are still charged. An account that is too low already may be raised.
    if amount < 0 and balance < -account.overdraft:
        msg = f"the balance would be {balance:,}; the lowest allowed is {-account.overdraft:,}"
        raise BalanceTooLow(msg)
    account.balance = balance
    entry = LedgerEntry(
        account_id=account.id,
        kind=kind,
        amount=amount,
        balance_after=balance,
        actor=cause.actor,
        note=cause.note,
        # When it happened, not when the transaction began, which may have waited for the lock.
        created_at=func.clock_timestamp(),
    )
    session.add(entry)
    await session.flush()
    return entry


def _check_amount(amount: int, balance: int) -> None:
    if abs(amount) > CREDITS_MAX or abs(balance) > CREDITS_MAX:
        msg = f"amounts and balances are at most {CREDITS_MAX:,} credits"
        raise AmountTooLarge(msg)


def _check_note(note: str) -> None:
    if len(note) > NOTE_CHARS_MAX or not note.isprintable():
        msg = f"a note has at most {NOTE_CHARS_MAX} characters and no control characters"
        raise InvalidNote(msg)
