"""Keys and the keys made with them: who is above a key, who is below, and what passes down.

    line     a key and its makers, up to the one that a person made; it never changes
    family   a key and all keys made with it, directly or with one of those; it only grows

A family grows only while its whole line is locked (`FOR SHARE`), so whoever has locked one key for
a change knows everything below it from the next statement on. All rows are locked in the order of
their ids, makers first: a key's id is larger than its maker's. Works in the caller's transaction.
SQLAlchemy's rows are for `people` only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import aliased

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Account, ApiKey, User
from tokenbalance.database.whose import ANSWERS, PAYER
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.key_errors import InvalidScopes
from tokenbalance.people.key_terms import earlier
from tokenbalance.people.limit_rows import bind_key
from tokenbalance.people.limits import InvalidLimit, KeyLimits
from tokenbalance.people.rows import key_row
from tokenbalance.people.tighter_limits import narrowed
from tokenbalance.people.traces import record_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor, Scope
    from tokenbalance.people.rows import KeyRow


@dataclass(frozen=True, slots=True)
class Family:
    """What is shown of a key's family."""

    maker: str | None
    """The name of the key that it was made with, else the beginning of its secret."""
    maker_email: str | None
    """Who answers for that key; the name of the team if nobody does."""
    made: int
    """How many other working keys end with it."""


async def lock_line(session: AsyncSession, key_id: int) -> ApiKey | None:
    """Keep a key and its makers as they are until the transaction ends; return the key."""
    line = (
        select(ApiKey.id, ApiKey.made_by_key_id)
        .where(ApiKey.id == key_id)
        .cte("line", recursive=True)
    )
    makers = select(ApiKey.id, ApiKey.made_by_key_id).join(line, ApiKey.id == line.c.made_by_key_id)
    line = line.union_all(makers)
    locking = select(ApiKey).where(ApiKey.id.in_(select(line.c.id))).order_by(ApiKey.id)
    keys = await session.scalars(
        locking.with_for_update(read=True), execution_options={"populate_existing": True}
    )
    return next((key for key in keys if key.id == key_id), None)


async def lock_accounts(session: AsyncSession, key_id: int) -> None:
    """Lock the accounts of a key and of all that were made with it: their counts may change.

    Before any key is locked, as where limits of an account change.
    """
    key_id = key_id if 0 < key_id <= ID_MAX else 0
    family = select(ApiKey.id).where(ApiKey.id == key_id)
    payers = select(ApiKey.account_id).where(ApiKey.id.in_(_families(family)))
    locking = select(Account.id).where(Account.id.in_(payers)).order_by(Account.id)
    await session.execute(locking.with_for_update(key_share=True))


async def lock_families(session: AsyncSession, keys: Select[int]) -> None:
    """Lock keys and all that were made with them, for a change."""
    locking = select(ApiKey.id).where(ApiKey.id.in_(_families(keys))).order_by(ApiKey.id)
    await session.execute(locking.with_for_update(key_share=True))


async def end_families(session: AsyncSession, keys: Select[int], actor: Actor) -> int:
    """Revoke those keys that work, and all working keys that were made with them.

    The keys must be locked. Each end is recorded. Returns how many were revoked.
    """
    ending = (
        select(ApiKey.id)
        .where(ApiKey.id.in_(_families(keys)), is_working())
        .order_by(ApiKey.id)
        .with_for_update(key_share=True)
    )
    revoked = (
        update(ApiKey)
        .where(ApiKey.id.in_(ending))
        .values(revoked_at=func.clock_timestamp())
        .returning(ApiKey)
    )
    fresh = {"populate_existing": True, "synchronize_session": False}
    keys_ended = await session.scalars(revoked, execution_options=fresh)
    ended = sorted((key_row(key) for key in keys_ended), key=lambda key: key.id)
    record_keys(session, actor, [(replace(key, revoked_at=None), key) for key in ended])
    return len(ended)


async def pass_down(session: AsyncSession, maker: ApiKey, actor: Actor) -> None:
    """Let the keys made with a key have no later end and no other scopes than it has now.

    Nor looser limits. They store nothing where it does not, and name end users as it does.

    The key must be locked. Each change is recorded.

    Raises:
        InvalidScopes, InvalidLimit: one of them would have no scope, or nothing of a list, left.

    """
    made = _families(select(ApiKey.id).where(ApiKey.id == maker.id))
    locking = (
        select(ApiKey)
        .where(ApiKey.id.in_(made), ApiKey.id != maker.id, is_working())
        .order_by(ApiKey.id)
    )
    keys = await session.scalars(
        locking.with_for_update(key_share=True), execution_options={"populate_existing": True}
    )
    changes: list[tuple[KeyRow, KeyRow]] = []
    made_keys = keys.all()
    for key in made_keys:
        before = key_row(key)
        scopes: list[Scope] = [scope for scope in key.scopes if scope in maker.scopes]
        if not scopes:
            msg = f"key {key.id}, made with this key, would have no scope left: revoke it first"
            raise InvalidScopes(msg)
        key.scopes = scopes
        key.expires_at = earlier(key.expires_at, maker.expires_at)
        key.force_store_false = key.force_store_false or maker.force_store_false
        _narrow(key, maker)
        changes.append((before, key_row(key)))
    await session.flush()
    for key, (before, after) in zip(made_keys, changes, strict=True):
        if before.terms != after.terms:
            await bind_key(session, key)
    record_keys(session, actor, changes)


def _narrow(key: ApiKey, maker: ApiKey) -> None:
    """Let a key have no looser limits than its maker."""
    bounded = BoundedLimits.stored(key.limits)
    of_each = KeyLimits.stored(key.sub_account_limits)
    try:
        limits = narrowed(bounded.limits, BoundedLimits.stored(maker.limits).limits)
        of_each = narrowed(of_each, KeyLimits.stored(maker.sub_account_limits))
    except InvalidLimit as error:
        reason = f"key {key.id}, made with this key, would have nothing of it left: revoke it first"
        raise InvalidLimit(error.field, reason) from None
    key.limits = replace(bounded, limits=limits).as_document()
    key.sub_account_from = maker.sub_account_from or key.sub_account_from
    key.sub_account_limits = of_each.as_document()


async def families_of(session: AsyncSession, keys: Sequence[KeyRow]) -> Mapping[int, Family]:
    """Return what is shown of the families of keys, by their ids."""
    ids = [key.id for key in keys]
    made = await _working_made_with(session, ids)
    makers = await _makers(session, {key.made_by_key_id for key in keys} - {None})
    none = (None, None)
    return {
        key.id: Family(*makers.get(key.made_by_key_id or 0, none), made.get(key.id, 0))
        for key in keys
    }


async def _working_made_with(session: AsyncSession, ids: Sequence[int]) -> Mapping[int, int]:
    below = select(ApiKey.made_by_key_id.label("top"), ApiKey.id).where(
        ApiKey.made_by_key_id.in_(ids)
    )
    family = below.cte("family", recursive=True)
    family = family.union_all(
        select(family.c.top, ApiKey.id).join(family, ApiKey.made_by_key_id == family.c.id)
    )
    counting = (
        select(family.c.top, func.count())
        .join(ApiKey, ApiKey.id == family.c.id)
        .where(is_working())
        .group_by(family.c.top)
    )
    rows = (await session.execute(counting)).all()
    return {row[0]: row[1] for row in rows}


async def _makers(
    session: AsyncSession, ids: Collection[int | None]
) -> Mapping[int, tuple[str, str]]:
    if not ids:
        return {}
    query = (
        select(ApiKey.id, ApiKey.name, ApiKey.prefix, PAYER)
        .join(Account, Account.id == ApiKey.account_id)
        .outerjoin(User, User.id == ANSWERS)
        .where(ApiKey.id.in_(ids))
    )
    found = await session.execute(query)
    return {key_id: (name or f"{prefix}…", email) for key_id, name, prefix, email in found}


def is_working() -> ColumnElement[bool]:
    """Build the condition that a key was not revoked and has not expired."""
    ends_later = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp())
    return ApiKey.revoked_at.is_(None) & ends_later


def _families(keys: Select[int]) -> Select[int]:
    """Select the ids of keys and of all keys made with them."""
    family = keys.cte("family", recursive=True)
    made = aliased(ApiKey)
    # A key may be named itself, and be made with another that is: each is met once.
    family = family.union(select(made.id).join(family, made.made_by_key_id == family.c.id))
    return select(family.c.id)
