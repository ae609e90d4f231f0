"""Records what changed about alerts. Works in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from tokenbalance.database.tables import Account
from tokenbalance.events import Subject, record

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.events import Change
    from tokenbalance.model import Actor, Json


async def record_change(
    session: AsyncSession, actor: Actor, event: Change, account_id: int | None, **details: Json
) -> None:
    """Record a change of what an account, or the operator, is told.

    Args:
        session: the transaction of the change.
        actor: who made it.
        event: what happened.
        account_id: whose alerts; None: the operator's.
        **details: what it was about; never a secret.

    """
    user_id = None
    if account_id is not None:
        one = select(Account.user_id, Account.kind).where(Account.id == account_id)
        user_id, kind = (await session.execute(one)).one()
        actor = actor.for_team if kind == "team" else actor
    record(session, actor, event, Subject(user_id=user_id, account_id=account_id), **details)
