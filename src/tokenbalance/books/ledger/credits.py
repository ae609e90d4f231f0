"""Entries that people make: grants, top-ups, adjustments, refunds, and setting a balance.

Each locks the account's row, so that the balance it writes follows from the previous one, and adds
one ledger entry, in the caller's transaction. Never commits, never touches holds.

The rules of "once" are here and nowhere else. A request is never refunded more than it cost, and an
idempotency key makes one entry, however many callers use it at the same time: each looks only after
it has the lock.

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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from tokenbalance.books.ledger.entries import entry_of
from tokenbalance.books.ledger.traces import record_entry
from tokenbalance.books.reports.entries import entries_of_request
from tokenbalance.database.tables import Account, HoldRecord, LedgerEntry
from tokenbalance.model import JSON_INTEGER_MAX

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.model import Actor

CREDITS_MAX: Final = JSON_INTEGER_MAX
"""Largest amount and balance."""
NOTE_CHARS_MAX: Final = 500
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
_TOO_LARGE: Final = f"an amount or a balance must be at most {CREDITS_MAX:,} credits"


class CreditError(Exception):
    """The entry is refused and nothing was written; the message is one line for people."""


class AmountNotPositive(CreditError):
    """A grant or a refund of less than 1 credit."""


class AmountZero(CreditError):
    """An amount of 0 to add."""


class AmountTooLarge(CreditError):
    """The amount or the resulting balance is beyond `CREDITS_MAX`."""


class BalanceTooLow(CreditError):
    """The balance would fall below the account's overdraft."""


class InvalidIdempotencyKey(CreditError):
    """The idempotency key is empty, too long, or not printable ASCII."""


class InvalidNote(CreditError):
    """The note is too long or has control characters."""


class KeyReused(CreditError):
    """The idempotency key belongs to another entry of the account."""


class NothingToRefund(CreditError):
    """The request was never charged, or was refunded completely."""


class RefundTooLarge(CreditError):
    """The refund is more than what is left of the charge."""


class UnknownAccount(CreditError):
    """No account has this id."""


class UnknownRequest(CreditError):
    """No request has this id."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who made an entry, and why."""

    actor: Actor
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _New:
    """An entry to be made, apart from the balance that it leads to."""

    kind: str
    amount: int
    cause: Cause
    request_id: str | None = None
    idempotency_key: str | None = None


async def grant(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> Entry:
    """Grant credits, such as an opening balance.

    Raises:
        CreditError: as drawn above.

    """
    if amount <= 0:
        msg = "a grant must be at least 1 credit"
        raise AmountNotPositive(msg)
    _check_amount(amount)
    account = await _lock(session, account_id)
    return await _enter(session, account, _New(kind="grant", amount=amount, cause=cause))


async def add(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> Entry:
    """Add credits (a top-up), or take credits away with a negative amount (an adjustment).

    Raises:
        CreditError: as drawn above.

    """
    _check_not_zero(amount)
    _check_amount(amount)
    account = await _lock(session, account_id)
    return await _enter(session, account, _New(kind=_kind_of(amount), amount=amount, cause=cause))


async def add_once(
    session: AsyncSession, account_id: int, amount: int, cause: Cause, idempotency_key: str
) -> Entry:
    """Add credits as `add` does, but only once for each idempotency key.

    Args:
        session: the caller's transaction.
        account_id: whose balance.
        amount: credits; negative to take credits away.
        cause: who and why.
        idempotency_key: chosen by the client; using it again returns the entry of the first time.

    Raises:
        InvalidIdempotencyKey: it is not 1 to 255 printable ASCII characters.
        KeyReused: it was used before for another entry.
        CreditError: as drawn above.

    """
    _check_idempotency_key(idempotency_key)
    _check_not_zero(amount)
    # The lock first, so that the second of two callers sees the entry of the first.
    account = await _lock(session, account_id)
    new = _New(kind=_kind_of(amount), amount=amount, cause=cause, idempotency_key=idempotency_key)
    before = await _entry_of_key(session, account_id, idempotency_key)
    if before is None:
        _check_amount(amount)
    return await _enter_once(session, account, new, before)


async def set_balance(session: AsyncSession, account_id: int, target: int, cause: Cause) -> Entry:
    """Set the balance with an entry of the difference.

    If nothing changes, an entry of 0 credits is made: it says who confirmed the balance, and when.

    Raises:
        CreditError: as drawn above.

    """
    account = await _lock(session, account_id)
    difference = target - account.balance
    return await _enter(session, account, _New(kind="set", amount=difference, cause=cause))


async def refund(session: AsyncSession, request_id: str, amount: int | None, cause: Cause) -> Entry:
    """Refund what a request was charged, or a part of it; never more than it cost.

    Args:
        session: the caller's transaction.
        request_id: which request.
        amount: credits; None: all that is left of the charge after its correction and earlier
            refunds.
        cause: who and why.

    Raises:
        CreditError: as drawn above.

    """
    _check_refund(amount)
    # The lock first, so that the second of two refunds sees what the first has left.
    account = await _lock(session, await _account_of(session, request_id))
    credits_back = await _refundable(session, account.id, request_id, amount)
    new = _New(kind="refund", amount=credits_back, cause=cause, request_id=request_id)
    return await _enter(session, account, new)


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
    _check_idempotency_key(idempotency_key)
    _check_refund(amount)
    account = await _lock(session, await _account_of(session, request_id))
    before = await _entry_of_key(session, account.id, idempotency_key)
    if before is not None:
        # Without an amount, the entry of the first time was all that was left.
        credits_back = before.amount if amount is None else amount
    else:
        credits_back = await _refundable(session, account.id, request_id, amount)
    new = _New(
        kind="refund",
        amount=credits_back,
        cause=cause,
        request_id=request_id,
        idempotency_key=idempotency_key,
    )
    return await _enter_once(session, account, new, before)


async def _account_of(session: AsyncSession, request_id: str) -> int:
    query = select(HoldRecord.account_id).where(HoldRecord.request_id == request_id)
    # Text that Postgres cannot hold is no request's id, and not worth a query.
    account_id = await session.scalar(query) if request_id.isprintable() else None
    if account_id is None:
        msg = f"no request has the id {request_id!a}"
        raise UnknownRequest(msg)
    return account_id


async def _refundable(
    session: AsyncSession, account_id: int, request_id: str, amount: int | None
) -> int:
    """Credits to refund: the amount, or all that is left of charge and correction after refunds."""
    entries = await entries_of_request(session, account_id, request_id)
    left = -sum(entry.amount for entry in entries)
    if not entries:
        msg = f"request {request_id} was never charged"
        raise NothingToRefund(msg)
    if left <= 0:
        msg = f"nothing is left to refund of request {request_id}"
        raise NothingToRefund(msg)
    if amount is not None and amount > left:
        msg = f"only {left:,} credits are left to refund of request {request_id}"
        raise RefundTooLarge(msg)
    return amount or left


async def _lock(session: AsyncSession, account_id: int) -> Account:
    """Read and lock the account; holds and settlements wait until the commit."""
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


async def _entry_of_key(
    session: AsyncSession, account_id: int, idempotency_key: str
) -> LedgerEntry | None:
    """Find the entry that a key has made; the account must be locked."""
    return await session.scalar(
        select(LedgerEntry).where(
            LedgerEntry.account_id == account_id, LedgerEntry.idempotency_key == idempotency_key
        )
    )


async def _enter_once(
    session: AsyncSession, account: Account, new: _New, before: LedgerEntry | None
) -> Entry:
    """Make an entry, or return the one that its key has made."""
    if before is None:
        return await _enter(session, account, new)
    made = (before.kind, before.amount, before.note, before.request_id)
    if made != (new.kind, new.amount, new.cause.note, new.request_id):
        msg = "this idempotency key was used before, with another amount or note"
        raise KeyReused(msg)
    return entry_of(before)


async def _enter(session: AsyncSession, account: Account, new: _New) -> Entry:
    balance = account.balance + new.amount
    _check_balance(new.amount, balance)
    _check_note(new.cause.note)
    # Open holds do not count: taking away what they reserve makes `available` negative, and the
    # requests in flight are still charged. A balance that is already too low may be raised.
    if new.amount < 0 and balance < -account.overdraft:
        msg = f"the balance would be {balance:,}; the lowest allowed is {-account.overdraft:,}"
        raise BalanceTooLow(msg)
    account.balance = balance
    entry = LedgerEntry(
        account_id=account.id,
        kind=new.kind,
        amount=new.amount,
        balance_after=balance,
        request_id=new.request_id,
        actor=new.cause.actor.name,
        note=new.cause.note,
        idempotency_key=new.idempotency_key,
        # When it happened; the transaction may have begun earlier and waited for the lock.
        created_at=func.clock_timestamp(),
    )
    session.add(entry)
    await session.flush()
    made = entry_of(entry)
    record_entry(session, new.cause.actor, account.user_id, made)
    return made


def _kind_of(amount: int) -> str:
    return "top-up" if amount > 0 else "adjustment"


def _check_not_zero(amount: int) -> None:
    if amount == 0:
        msg = "the amount must not be 0"
        raise AmountZero(msg)


def _check_refund(amount: int | None) -> None:
    if amount is not None and amount <= 0:
        msg = "a refund must be at least 1 credit"
        raise AmountNotPositive(msg)


def _check_idempotency_key(key: str) -> None:
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not (key.isascii() and key.isprintable()):
        msg = (
            f"an idempotency key must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII"
            " characters"
        )
        raise InvalidIdempotencyKey(msg)


def _check_amount(amount: int) -> None:
    if abs(amount) > CREDITS_MAX:
        raise AmountTooLarge(_TOO_LARGE)


def _check_balance(amount: int, balance: int) -> None:
    """Refuse to move a balance out of its bounds; moving it back towards them is allowed."""
    if (amount > 0 and balance > CREDITS_MAX) or (amount < 0 and balance < -CREDITS_MAX):
        raise AmountTooLarge(_TOO_LARGE)


def _check_note(note: str) -> None:
    if len(note) > NOTE_CHARS_MAX or not note.isprintable():
        msg = f"a note must have at most {NOTE_CHARS_MAX} characters and no control characters"
        raise InvalidNote(msg)
