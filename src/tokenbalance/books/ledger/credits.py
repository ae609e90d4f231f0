"""Entries that people make: grants, top-ups, adjustments, and setting a balance.

Each locks the account's row, so that the balance it writes follows from the previous one, and adds
one ledger entry, in the caller's transaction. Never commits, never touches holds. `refunds`,
`overdrafts` and `transfers` build on what is here.

What open holds reserve stays covered: an entry that would take some of it takes the rest and keeps
what was asked for, so the requests in flight cannot bring the balance below the overdraft.

The rules of "once" are here and nowhere else. An idempotency key makes one entry, however many
callers use it at the same time: each looks only after it has the lock.

    CreditError
    |-- AccountClosed
    |-- AmountNotPositive
    |-- AmountZero
    |-- AmountTooLarge
    |-- AllowanceEndInvalid
    |-- BalanceTooLow
    |-- EndInvalid
    |-- InvalidIdempotencyKey
    |-- InvalidNote
    |-- KeyReused
    |-- NothingToRefund
    |-- OverdraftInUse
    |-- OverdraftOutOfRange
    |-- PriorityOutOfRange
    |-- RefundTooLarge
    |-- RolloverOutOfRange
    |-- SameAccount
    |-- TransferTooLarge
    |-- UnknownAccount
    |-- UnknownAllowance
    `-- UnknownRequest
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from tokenbalance.books.grants.due import bring_up_to_date
from tokenbalance.books.ledger.entries import entry_of
from tokenbalance.books.ledger.traces import record_entry
from tokenbalance.database.tables import Account, LedgerEntry
from tokenbalance.model import JSON_INTEGER_MAX

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.model import Actor

CREDITS_MAX: Final = JSON_INTEGER_MAX
"""Largest amount and balance."""
NOTE_CHARS_MAX: Final = 500
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
TOO_LARGE: Final = f"an amount or a balance must be at most {CREDITS_MAX:,} credits"


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


class OverdraftInUse(CreditError):
    """The overdraft would no longer cover what is overdrawn or held."""


class OverdraftOutOfRange(CreditError):
    """The overdraft is negative or beyond `CREDITS_MAX`."""


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
class NewEntry:
    """An entry to be made, apart from the balance that it leads to."""

    kind: str
    amount: int
    """What is asked for; what open holds reserve is not taken."""
    cause: Cause
    said: str = ""
    """What the entry is for, in front of the note."""
    request_id: str | None = None
    idempotency_key: str | None = None
    transfer_id: UUID | None = None

    @property
    def note(self) -> str:
        """What the entry says."""
        return ": ".join(text for text in (self.said, self.cause.note) if text)


async def grant(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> Entry:
    """Grant credits, such as an opening balance.

    Raises:
        CreditError: as drawn above.

    """
    if amount <= 0:
        msg = "a grant must be at least 1 credit"
        raise AmountNotPositive(msg)
    check_amount(amount)
    account = await lock_account(session, account_id)
    return await enter(session, account, NewEntry(kind="grant", amount=amount, cause=cause))


async def add(session: AsyncSession, account_id: int, amount: int, cause: Cause) -> Entry:
    """Add credits (a top-up), or take credits away with a negative amount (an adjustment).

    Credits that open holds reserve are not taken: see `Entry.kept_for_holds`.

    Raises:
        CreditError: as drawn above.

    """
    _check_not_zero(amount)
    check_amount(amount)
    account = await lock_account(session, account_id)
    return await enter(
        session, account, NewEntry(kind=_kind_of(amount), amount=amount, cause=cause)
    )


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
    check_idempotency_key(idempotency_key)
    _check_not_zero(amount)
    # The lock first, so that the second of two callers sees the entry of the first.
    account = await lock_account(session, account_id)
    new = NewEntry(
        kind=_kind_of(amount), amount=amount, cause=cause, idempotency_key=idempotency_key
    )
    before = await entry_of_key(session, account_id, idempotency_key)
    if before is None:
        check_amount(amount)
    return await enter_once(session, account, new, before)


async def set_balance(session: AsyncSession, account_id: int, target: int, cause: Cause) -> Entry:
    """Set the balance with an entry of the difference.

    Credits that open holds reserve are not taken: see `Entry.kept_for_holds`. If nothing changes,
    an entry of 0 credits is made: it says who confirmed the balance, and when.

    Raises:
        CreditError: as drawn above.

    """
    account = await lock_account(session, account_id)
    difference = target - account.balance
    return await enter(session, account, NewEntry(kind="set", amount=difference, cause=cause))


async def lock_account(session: AsyncSession, account_id: int) -> Account:
    """Read and lock the account; holds and settlements wait until the commit.

    What is due of its grants is entered first, so that the balance is what it has now.
    """
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
    if account.next_expiry is not None:
        await bring_up_to_date(session, account_id)
        await session.refresh(account)
    return account


async def entry_of_key(
    session: AsyncSession, account_id: int, idempotency_key: str
) -> LedgerEntry | None:
    """Find the entry that a key has made; the account must be locked."""
    return await session.scalar(
        select(LedgerEntry).where(
            LedgerEntry.account_id == account_id, LedgerEntry.idempotency_key == idempotency_key
        )
    )


async def enter_once(
    session: AsyncSession, account: Account, new: NewEntry, before: LedgerEntry | None
) -> Entry:
    """Make an entry, or return the one that its key has made."""
    if before is None:
        return await enter(session, account, new)
    amount = before.amount if before.asked is None else before.asked
    made = (before.kind, amount, before.note, before.request_id)
    if made != (new.kind, new.amount, new.cause.note, new.request_id):
        msg = "this idempotency key was used before, with another amount or note"
        raise KeyReused(msg)
    return entry_of(before)


async def enter(session: AsyncSession, account: Account, new: NewEntry) -> Entry:
    """Make an entry, and record it; the account must be locked."""
    made = await write_entry(session, account, new)
    record_entry(session, new.cause.actor, account.user_id, made)
    if new.kind == "refund":
        # To the grants that the request burnt: if one of them has ended, that is due at once.
        await bring_up_to_date(session, account.id)
        await session.refresh(account)
    return made


async def write_entry(session: AsyncSession, account: Account, new: NewEntry) -> Entry:
    """Make an entry as `enter` does, and record nothing."""
    asked = account.balance + new.amount
    check_balance(new.amount, asked)
    check_note(new.cause.note)
    # A balance that is already too low may be raised.
    if new.amount < 0 and asked < -account.overdraft:
        msg = f"the balance would be {asked:,}; the lowest allowed is {-account.overdraft:,}"
        raise BalanceTooLow(msg)
    amount = max(new.amount, _lowest_amount(account))
    account.balance += amount
    entry = LedgerEntry(
        account_id=account.id,
        kind=new.kind,
        amount=amount,
        asked=None if amount == new.amount else new.amount,
        balance_after=account.balance,
        request_id=new.request_id,
        actor=new.cause.actor.name,
        note=new.note,
        idempotency_key=new.idempotency_key,
        transfer_id=new.transfer_id,
        # When it happened; the transaction may have begun earlier and waited for the lock.
        created_at=func.clock_timestamp(),
    )
    session.add(entry)
    await session.flush()
    return entry_of(entry)


def _lowest_amount(account: Account) -> int:
    """Return the amount that takes everything except what open holds reserve; 0 or negative."""
    return min(account.held - account.overdraft - account.balance, 0)


def _kind_of(amount: int) -> str:
    return "top-up" if amount > 0 else "adjustment"


def _check_not_zero(amount: int) -> None:
    if amount == 0:
        msg = "the amount must not be 0"
        raise AmountZero(msg)


def check_idempotency_key(key: str) -> None:
    """Refuse a key that is not 1 to 255 printable ASCII characters."""
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX or not (key.isascii() and key.isprintable()):
        msg = (
            f"an idempotency key must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII"
            " characters"
        )
        raise InvalidIdempotencyKey(msg)


def check_amount(amount: int) -> None:
    """Check the size of an amount to add or take away.

    Raises:
        AmountTooLarge: it is beyond `CREDITS_MAX`.

    """
    if abs(amount) > CREDITS_MAX:
        raise AmountTooLarge(TOO_LARGE)


def check_balance(amount: int, balance: int) -> None:
    """Refuse to move a balance out of its bounds; moving it back towards them is allowed.

    Raises:
        AmountTooLarge: it would be beyond `CREDITS_MAX`.

    """
    if (amount > 0 and balance > CREDITS_MAX) or (amount < 0 and balance < -CREDITS_MAX):
        raise AmountTooLarge(TOO_LARGE)


def check_note(note: str) -> None:
    """Refuse a note that is too long or has control characters."""
    if len(note) > NOTE_CHARS_MAX or not note.isprintable():
        msg = f"a note must have at most {NOTE_CHARS_MAX} characters and no control characters"
        raise InvalidNote(msg)
