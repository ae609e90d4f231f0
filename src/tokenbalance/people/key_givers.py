"""What whoever asks may do to a key: a key gives nothing that it does not have.

A person, who may give everything, is named by no key. Works in the caller's transaction.
SQLAlchemy's rows are for `people` only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import update

from tokenbalance.database.tables import ApiKey
from tokenbalance.people.key_errors import KeyEnded, KeyExceeds, MakerEnded, UnknownKey
from tokenbalance.people.key_families import is_working, lock_line
from tokenbalance.people.key_lists import get_key, lock_key, one_key
from tokenbalance.people.key_terms import require_scopes
from tokenbalance.people.rows import key_row
from tokenbalance.people.traces import record_key

if TYPE_CHECKING:
    from sqlalchemy import Update
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.key_terms import KeyTerms
    from tokenbalance.people.rows import KeyRow


async def lock_maker(session: AsyncSession, key_id: int) -> KeyRow:
    """Keep a key and its makers as they are until the transaction ends; return the key.

    Raises:
        MakerEnded: it was revoked or has expired.

    """
    maker = await lock_line(session, key_id)
    if maker is None or key_row(maker).has_ended(datetime.now(UTC)):
        raise MakerEnded(_ended(key_id))
    return key_row(maker)


async def locked_key(session: AsyncSession, key_id: int, account_id: int | None) -> KeyRow:
    """Keep a key as it is until the transaction ends, and return it.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    key = await lock_key(session, key_id, account_id)
    if key is None:
        raise UnknownKey(key_id)
    return key


async def asking_key(session: AsyncSession, key_id: int) -> KeyRow:
    """Return the key that asks.

    Raises:
        MakerEnded: it was revoked or has expired.

    """
    asking = await get_key(session, key_id, None)
    if asking.has_ended(datetime.now(UTC)):
        raise MakerEnded(_ended(key_id))
    return asking


def require_within(given: KeyTerms, asking: KeyRow, key_id: int) -> None:
    """Require that the key that asks has all that it would give, or get.

    Raises:
        ScopesMissing, KeyExceeds: it does not.

    """
    require_scopes(given.scopes, asking.scopes)
    if not given.is_within(asking.terms):
        msg = (
            f"key {key_id} is valid for longer, or has looser limits, than the key that asks:"
            " sign in to change or rotate it"
        )
        raise KeyExceeds(msg)


def working(key_id: int, account_id: int | None) -> Update:
    """Build the change of one key that has not ended."""
    return update(ApiKey).where(*one_key(key_id, account_id), is_working())


async def apply_change(
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    change: Update,
    actor: Actor,
) -> ApiKey:
    """Change a key, as `working` has built it, and record it.

    Raises:
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.

    """
    before = await lock_key(session, key_id, account_id)
    changed = change.returning(ApiKey)
    key = await session.scalar(changed, execution_options={"populate_existing": True})
    if key is None or before is None:
        ended = await get_key(session, key_id, account_id)
        msg = f"key {ended.id} was revoked or has expired: create a new one"
        raise KeyEnded(msg)
    record_key(session, actor, before, key_row(key))
    return key


def _ended(key_id: int) -> str:
    return f"key {key_id} was revoked or has expired"
