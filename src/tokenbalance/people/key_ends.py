"""The end of API keys: one with all that were made with it, or all of an account.

Works in the caller's transaction and never commits. Sign-in tokens are invisible here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from tokenbalance.database.tables import ApiKey
from tokenbalance.people.key_errors import UnknownKey
from tokenbalance.people.key_families import end_families, lock_families
from tokenbalance.people.key_lists import lock_key, one_key
from tokenbalance.people.rows import key_row
from tokenbalance.people.traces import record_key

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.rows import KeyRow


@dataclass(frozen=True, slots=True)
class Revoked:
    """A key that was revoked."""

    key: KeyRow
    with_it: int
    """How many keys that were made with it, and worked until now, were revoked with it."""


async def revoke_key(
    session: AsyncSession, key_id: int, account_id: int | None = None, *, actor: Actor
) -> Revoked:
    """Revoke a key and all keys made with it, at once and permanently, whosever they are.

    Revoking it again changes nothing.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        actor: who does it, to be recorded.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    before = await lock_key(session, key_id, account_id)
    # The time of the first revocation stays. From here on nothing more is made with the key.
    revoked = (
        update(ApiKey)
        .where(*one_key(key_id, account_id))
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.clock_timestamp()))
        .returning(ApiKey)
    )
    key = await session.scalar(revoked, execution_options={"populate_existing": True})
    if key is None or before is None:
        raise UnknownKey(key_id)
    row = key_row(key)
    record_key(session, actor, before, row)
    family = select(ApiKey.id).where(ApiKey.id == row.id)
    return Revoked(row, await end_families(session, family, actor))


async def revoke_all_keys(session: AsyncSession, account_id: int, *, actor: Actor) -> int:
    """Revoke every key of an account and all keys made with them; return how many worked."""
    keys = select(ApiKey.id).where(ApiKey.account_id == account_id, ApiKey.kind == "key")
    await lock_families(session, keys)
    return await end_families(session, keys, actor)
