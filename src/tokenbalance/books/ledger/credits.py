"""Entries that people make: grants, top-ups, adjustments, refunds, and setting a balance.

Each locks the account's row, so that the balance it writes follows from the one before, and adds
one ledger entry, in the caller's transaction. Never commits, never touches holds.

    CreditError
    |-- AmountNotPositive
    |-- AmountZero
    |-- AmountTooLarge
    |-- BalanceTooLow
    |-- InvalidIdempotencyKey
    |-- InvalidNote
    |-- KeyReused
    |-- NothingToRefund
    |-- RefundTooLarge
    |-- UnknownAccount
    `-- UnknownRequest
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from tokenbalance.books.reports.entries import entries_of_request
from tokenbalance.database.tables import Account, HoldRecord, LedgerEntry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

CREDITS_MAX: Final = 2**53 - 1
"""Largest amount and balance: what every JSON reader takes for the integer that it is."""
NOTE_CHARS_MAX: Final = 500
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
_TOO_LARGE: Final = f"amounts and balances are at most {CREDITS_MAX:,} credits"


class CreditError(Exception):
    """The entry is refused and nothing was written; the message is one line for people."""


class AmountNotPositive(CreditError):
    """Grants and refunds give; they never take."""


class AmountZero(CreditError):
    """Adding nothing changes nothing."""


class AmountTooLarge(CreditError):
    """The amount, or the balance it would lead to, is beyond what JSON readers keep exact."""


class BalanceTooLow(CreditError):
    """The balance would fall below what the account may be overdrawn by."""


class InvalidIdempotencyKey(CreditError):
    """An idempotency key that is empty, very long, or more than printable ASCII characters."""


class InvalidNote(CreditError):
    """A note with control characters, or a very long one."""


class KeyReused(CreditError):
    """The idempotency key belongs to an entry with another amount or note."""


class NothingToRefund(CreditError):
    """The request was never charged, or has all of it back."""


class RefundTooLarge(CreditError):
    """More than is left of what the request was charged."""


class UnknownAccount(CreditError):
    """No account has this id."""


class UnknownRequest(CreditError):
    """No request has this id."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who made an entry, and why."""

    actor: str
    """`cli`, or a user's e-mail."""
    note: str = ""
    request_id: str | None = None
    """The request that it is about."""
    idempotency_key: str | None = None
    """What `add_once` recognises it by."""


async def grant(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> LedgerEntry:
    """Give credits, as when an account is opened.

    Raises:
        CreditError: as drawn above.

    """
    if amount <= 0:
        msg = "a grant is at least 1 credit"
        raise AmountNotPositive(msg)
    _check_amount(amount)
    account = await _lock(session, account_id)
    return await _enter(session, account, "grant", amount, cause)


async def add(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> LedgerEntry:
    """Add credits (a top-up), or take some away when the amount is negative (an adjustment).

    Raises:
        CreditError: as drawn above.

    """
    _check_not_zero(amount)
    _check_amount(amount)
    account = await _lock(session, account_id)
    return await _enter(session, account, _kind_of(amount), amount, cause)


async def add_once(
    session: AsyncSession, account_id: int, amount: int, cause: Cause, idempotency_key: str
) -> LedgerEntry:
    """Add credits as `add` does, but the same ones only once.

    Args:
        session: the caller's transaction.
        account_id: whose balance.
        amount: credits; negative to take some away.
        cause: who and why.
        idempotency_key: chosen by who asks; asking again with it gives the entry of the first time.

    Raises:
        InvalidIdempotencyKey: it is not 1 to 255 printable ASCII characters.
        KeyReused: it came with another amount or note before.
        CreditError: as drawn above.

    """
    _check_idempotency_key(idempotency_key)
    _check_not_zero(amount)
    # The lock first, so that of two with the same key the second sees the first one's entry.
    account = await _lock(session, account_id)
    before = await session.scalar(
        select(LedgerEntry).where(
            LedgerEntry.account_id == account_id, LedgerEntry.idempotency_key == idempotency_key
        )
    )
    if before is None:
        _check_amount(amount)
        cause = replace(cause, idempotency_key=idempotency_key)
        return await _enter(session, account, _kind_of(amount), amount, cause)
    if (before.amount, before.note) != (amount, cause.note):
        msg = "this idempotency key was used before, with another amount or note"
        raise KeyReused(msg)
    return before


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


async def refund(
    session: AsyncSession, request_id: str, amount: int | None, cause: Cause
) -> LedgerEntry:
    """Give back what a request was charged, or a part of it.

    Args:
        session: the caller's transaction.
        request_id: which request.
        amount: credits; None for all that is left of the charge, its correction and earlier
            refunds taken into account.
        cause: who and why.

    Raises:
        CreditError: as drawn above.

    """
    if amount is not None and amount <= 0:
        msg = "a refund is at least 1 credit"
        raise AmountNotPositive(msg)
    # The lock first, so that of two refunds the second sees what the first has left.
    account = await _lock(session, await _account_of(session, request_id))
    left = await _refundable(session, account.id, request_id)
    if amount is not None and amount > left:
        msg = f"only {left:,} credits are left of what request {request_id} was charged"
        raise RefundTooLarge(msg)
    return await _enter(
        session, account, "refund", amount or left, replace(cause, request_id=request_id)
    )


async def _account_of(session: AsyncSession, request_id: str) -> int:
    query = select(HoldRecord.account_id).where(HoldRecord.request_id == request_id)
    # Text that Postgres cannot hold is no request's id, and not worth asking for.
    account_id = await session.scalar(query) if request_id.isprintable() else None
    if account_id is None:
        msg = f"no request has the id {request_id!a}"
        raise UnknownRequest(msg)
    return account_id


async def _refundable(session: AsyncSession, account_id: int, request_id: str) -> int:
    """Credits that the request has cost until now: its charge and correction, less refunds."""
    entries = await entries_of_request(session, account_id, request_id)
    left = -sum(entry.amount for entry in entries)
    if not entries:
        msg = f"request {request_id} was never charged"
        raise NothingToRefund(msg)
    if left <= 0:
        msg = f"nothing is left to refund of request {request_id}"
        raise NothingToRefund(msg)
    return left


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
    _check_balance(amount, balance)
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
        request_id=cause.request_id,
        actor=cause.actor,
        note=cause.note,
        idempotency_key=cause.idempotency_key,
        # When it happened, not when the transaction began, which may have waited for the lock.
        created_at=func.clock_timestamp(),
    )
    session.add(entry)
    await session.flush()
    return entry


def _kind_of(amount: int) -> str:
    return "top-up" if amount > 0 else "adjustment"


def _check_not_zero(amount: int) -> None:
    if amount == 0:
        msg = "an amount of 0 changes nothing"
        raise AmountZero(msg)


def _check_idempotency_key(key: str) -> None:
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not (key.isascii() and key.isprintable()):
        msg = f"an idempotency key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters"
        raise InvalidIdempotencyKey(msg)


def _check_amount(amount: int) -> None:
    if abs(amount) > CREDITS_MAX:
        raise AmountTooLarge(_TOO_LARGE)


def _check_balance(amount: int, balance: int) -> None:
    """Refuse to lead a balance out of its bounds; the way back is open, whatever led it there."""
    if (amount > 0 and balance > CREDITS_MAX) or (amount < 0 and balance < -CREDITS_MAX):
        raise AmountTooLarge(_TOO_LARGE)


def _check_note(note: str) -> None:
    if len(note) > NOTE_CHARS_MAX or not note.isprintable():
        msg = f"a note has at most {NOTE_CHARS_MAX} characters and no control characters"
        raise InvalidNote(msg)
