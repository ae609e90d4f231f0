"""Credits for everybody who has a tag: one entry for each account, all in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.books.ledger.credits import AmountNotPositive, add, add_once
from tokenbalance.model.values import value
from tokenbalance.people.tags import accounts_of_tag

if TYPE_CHECKING:
    from tokenbalance.books.ledger.credits import Cause
    from tokenbalance.database.connections import Session


@value
class TagCredits:
    """What everybody with a tag got."""

    users: int
    amount: int
    """For each of them, in credits."""
    total: int


async def credit_tag(
    session: Session, tag: str, amount: int, cause: Cause, idempotency_key: str | None = None
) -> TagCredits:
    """Add credits to the account of everybody who has a tag.

    Args:
        session: the caller's transaction.
        tag: whose.
        amount: for each, at least 1.
        cause: who and why.
        idempotency_key: chosen by the client; an account that has an entry of it gets no other.

    Raises:
        InvalidTag, UnknownTag: nobody can have it, or nobody does.
        CreditError: nobody got anything.

    """
    if amount < 1:
        msg = "the amount must be at least 1 credit"
        raise AmountNotPositive(msg)
    account_ids = await accounts_of_tag(session, tag)
    # In the order of ids, in which everybody locks several accounts.
    for account_id in account_ids:
        if idempotency_key is None:
            _ = await add(session, account_id, amount, cause)
        else:
            _ = await add_once(session, account_id, amount, cause, idempotency_key)
    return TagCredits(len(account_ids), amount, amount * len(account_ids))
