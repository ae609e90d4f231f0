"""Whose account a request is about: the caller's, or that of whom a superuser names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.people.access import sees_everything, subject_of
from tokenbalance.people.users import get_user

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Caller


async def account_of(session: AsyncSession, caller: Caller, user_id: int | None) -> int:
    """Find the account of a user, by default the caller's.

    Raises:
        NotAllowed: an ordinary user names somebody else.
        UnknownUser: nobody has this id.

    """
    subject = subject_of(caller, user_id)
    if subject == caller.user_id:
        return caller.account_id
    return (await get_user(session, subject)).account.id


def account_seen_by(caller: Caller) -> int | None:
    """Tell whose things a caller finds by their ids; None for everybody's."""
    return None if sees_everything(caller) else caller.account_id
