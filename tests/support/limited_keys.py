"""Keys with limits: their own, their account's, and those of the end users behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from tests.support.books import create_holder
from tokenbalance.database.tables import Account, ApiKey
from tokenbalance.model.limits import ACCOUNT, subject_of_key
from tokenbalance.people.limit_rows import renew_versions, store_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

    Limits = Mapping[str, int | list[str]]


async def limit(
    sessions: Sessions,
    holder: Holder,
    key: Limits | None = None,
    *,
    account: Limits | None = None,
    end_users: tuple[str, Limits] | None = None,
) -> None:
    """Set limits as the management side does; what is not given is unlimited.

    Args:
        sessions: of the management side.
        holder: whose key and account.
        key: of the key.
        account: of the account.
        end_users: where requests name them, and the limits of each.

    """
    nothing: Limits = {}
    key, account = key or nothing, account or nothing
    named_by, of_each = end_users or (None, nothing)
    async with sessions.begin() as session:
        of_key = {
            "limits": dict(key),
            "sub_account_from": named_by,
            "sub_account_limits": dict(of_each),
        }
        _ = await session.execute(update(ApiKey).where(ApiKey.id == holder.key_id).values(of_key))
        _ = await session.execute(
            update(Account).where(Account.id == holder.account_id).values(limits=dict(account))
        )
        subject = subject_of_key(holder.key_id)
        await store_limits(session, holder.account_id, subject, key)
        await store_limits(session, holder.account_id, ACCOUNT, account)
        await renew_versions(session, holder.account_id)


async def create_limited(
    pool: Pool,
    sessions: Sessions,
    key: Limits | None = None,
    *,
    balance: int = 1_000_000,
    account: Limits | None = None,
    end_users: tuple[str, Limits] | None = None,
) -> Holder:
    """Create a user with a balance and a key that is limited."""
    holder = await create_holder(pool, balance)
    await limit(sessions, holder, key, account=account, end_users=end_users)
    return holder
