"""Records who changed a balance, from the ledger entry that they made; in its transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tokenbalance.events import Subject, changed, record

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.database.tables import Account
    from tokenbalance.events import Change
    from tokenbalance.model import Actor

_EVENTS: Final[dict[str, Change]] = {
    "grant": "balance.granted",
    "top-up": "balance.added",
    "adjustment": "balance.adjusted",
    "set": "balance.set",
    "refund": "balance.refunded",
    "transfer": "balance.transferred",
}
"""By the kind of the entry."""


class Rerated(NamedTuple):
    """Entries of a rerate that were made together, for one account."""

    requests: int
    before: int
    """The balance before all of them."""
    after: int
    """The balance after all of them."""


def record_entry(session: AsyncSession, actor: Actor, user_id: int | None, entry: Entry) -> None:
    """Record an entry that people make, of a user's account."""
    record(
        session,
        actor,
        _EVENTS[entry.kind],
        Subject(user_id=user_id, account_id=entry.account_id, request_id=entry.request_id),
        entry=entry.id,
        amount=entry.amount,
        **({"kept_for_holds": entry.kept_for_holds} if entry.kept_for_holds else {}),
        **({"transfer": str(entry.transfer_id)} if entry.transfer_id else {}),
        balance=changed(entry.balance_after - entry.amount, entry.balance_after),
        note=entry.note,
    )


def record_overdraft(
    session: AsyncSession, actor: Actor, account: Account, entry: Entry, before: int
) -> None:
    """Record that an account's overdraft was set, from the entry that says so."""
    record(
        session,
        actor,
        "balance.overdraft_set",
        Subject(user_id=account.user_id, account_id=account.id),
        entry=entry.id,
        overdraft=changed(before, account.overdraft),
        note=entry.note,
    )


def record_rerate(
    session: AsyncSession, actor: Actor, subject: Subject, rerated: Rerated, note: str
) -> None:
    """Record that requests of an account got other prices, by one entry each; the note says which.

    Args:
        session: the transaction of the entries.
        actor: who did it.
        subject: whose requests.
        rerated: how many, and what it did to the balance.
        note: that of the entries.

    """
    record(
        session,
        actor,
        "balance.rerated",
        subject,
        requests=rerated.requests,
        amount=rerated.after - rerated.before,
        balance=changed(rerated.before, rerated.after),
        note=note,
    )
