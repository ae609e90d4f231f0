"""A ledger entry as everybody outside the books sees it: frozen, detached from any session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from tokenbalance.database.tables import LedgerEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of a balance. Amounts are credits."""

    id: int
    account_id: int
    kind: str
    """One of `ENTRY_KINDS`."""
    amount: int
    """Negative when it takes credits away."""
    asked: int | None
    """The amount that was asked for, if open holds kept a part of it; None: the amount itself."""
    balance_after: int
    request_id: str | None
    """The request that it is about, if any."""
    actor: str
    """`proxy`, `cli`, or the e-mail of the user who made it."""
    note: str
    estimated: bool
    """The charge is an estimate."""
    created_at: datetime
    transfer_id: UUID | None = None
    """Of credits that were moved: that of the entry of the other account as well."""

    @property
    def kept_for_holds(self) -> int:
        """Credits that were to be taken, but stayed because requests in flight hold them."""
        return 0 if self.asked is None else self.amount - self.asked


def entry_of(record: LedgerEntry) -> Entry:
    """Copy an entry."""
    return Entry(
        id=record.id,
        account_id=record.account_id,
        kind=record.kind,
        amount=record.amount,
        asked=record.asked,
        balance_after=_balance_after(record),
        request_id=record.request_id,
        actor=record.actor,
        note=record.note,
        estimated=record.estimated,
        created_at=record.created_at,
        transfer_id=record.transfer_id,
    )


def _balance_after(record: LedgerEntry) -> int:
    if record.balance_after is None:
        msg = f"row {record.id} of the ledger changes no balance"
        raise ValueError(msg)
    return record.balance_after
