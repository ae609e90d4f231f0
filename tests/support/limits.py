"""Limits in tests: how a key or an account gets some, and what has been taken from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from tokenbalance.database.tables import Account, ApiKey
from tokenbalance.model.limits import ACCOUNT, subject_of_key
from tokenbalance.people.callers import find_caller
from tokenbalance.people.limit_rows import renew_versions, store_limits

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Caller


async def limit_key(sessions: Sessions, holder: Holder, **limits: int | list[str]) -> None:
    """Make these the limits of a holder's key."""
    async with sessions.begin() as session:
        _ = await session.execute(
            update(ApiKey).where(ApiKey.id == holder.key_id).values(limits=limits)
        )
        subject = subject_of_key(holder.key_id)
        await store_limits(session, holder.account_id, subject, limits)
        await renew_versions(session, holder.account_id, holder.key_id)


async def limit_account(sessions: Sessions, holder: Holder, **limits: int | list[str]) -> None:
    """Make these the limits of a holder's account."""
    async with sessions.begin() as session:
        _ = await session.execute(
            update(Account).where(Account.id == holder.account_id).values(limits=limits)
        )
        await store_limits(session, holder.account_id, ACCOUNT, limits)
        await renew_versions(session, holder.account_id)


async def caller_of(pool: Pool, holder: Holder) -> Caller:
    """Look the holder's key up, as a request does."""
    return await find_caller(pool, holder.secret)
