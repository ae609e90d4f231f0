"""The account that a request is about: the caller's, or the one that a superuser names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.people.access import sees_everything, subject_of
from tokenbalance.people.users import get_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Session
    from tokenbalance.model import Caller


async def account_of(session: Session, caller: Caller, user_id: int | None) -> int:
    """Find the account of a user, by default the caller's.

    Raises:
        NotAllowed: an ordinary user names another user.
        UnknownUser: no user has this id.

    """
    subject = subject_of(caller, user_id)
    if subject is None:
        return caller.account_id
    return (await get_user(session, subject)).account.id


def account_seen_by(caller: Caller) -> int | None:
    """Return the account whose things the caller finds by id; None: all accounts."""
    return None if sees_everything(caller) else caller.account_id
