"""Users by tag: who has it, how many, and all of them disabled or enabled at once.

Works in the caller's transaction and never commits. Rows are locked in the order of ids, so that
two who work on tags with common users wait for each other and never deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sqlalchemy import BigInteger, Integer, func, select
from sqlalchemy import cast as as_type

from tokenbalance.database.tables import Account, User
from tokenbalance.people.known_browsers import forget_all_browsers
from tokenbalance.people.rows import user_row
from tokenbalance.people.sign_in_tokens import end_all_tokens
from tokenbalance.people.tag_names import clean_tag, clean_tags
from tokenbalance.people.traces import record_user
from tokenbalance.people.users import (
    Changes,
    UserError,
    lock_record,
    lock_tagged,
    update_user,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.rows import UserRow


class UnknownTag(UserError):
    """No user has this tag."""


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag, and the users who have it."""

    name: str
    users: int
    disabled: int
    """Of them."""
    balance: int
    """Of all of them together, in credits."""


@dataclass(frozen=True, slots=True)
class SetActive:
    """What disabling or enabling a tag did."""

    changed: int
    """Users who were not so before."""
    superusers: int
    """Who have the tag and were left as they are: each is disabled on purpose, or not at all."""


async def list_tags(session: AsyncSession) -> Sequence[TagRow]:
    """Return all tags that users have, by name."""
    each = (
        select(func.unnest(User.tags).label("name"), User.is_active, Account.balance)
        .join(Account, Account.user_id == User.id)
        .subquery()
    )
    disabled = func.count().filter(~each.c.is_active)
    total = as_type(func.sum(each.c.balance), BigInteger)
    rows = await session.execute(
        select(each.c.name, func.count(), as_type(disabled, Integer), total)
        .group_by(each.c.name)
        .order_by(each.c.name)
    )
    return [TagRow(*cast("tuple[str, int, int, int]", tuple(row))) for row in rows]


async def accounts_of_tag(session: AsyncSession, tag: str) -> tuple[int, ...]:
    """Return the ids of the accounts of everybody who has a tag, in their order.

    Raises:
        InvalidTag, UnknownTag: nobody can have it, or nobody does.

    """
    tag = clean_tag(tag)
    ids = await session.scalars(
        select(Account.id)
        .join(User, User.id == Account.user_id)
        .where(User.tags.contains([tag]))
        .order_by(Account.id)
    )
    found = tuple(ids)
    if not found:
        raise UnknownTag(_nobody(tag))
    return found


async def tag_user(
    session: AsyncSession,
    user_id: int,
    *,
    add: Collection[str] = (),
    remove: Collection[str] = (),
    actor: Actor,
) -> UserRow:
    """Give a user tags, and take some away.

    Raises:
        UnknownUser: no user has this id.
        InvalidTag: a tag is not acceptable, or there are too many.

    """
    before = (await lock_record(session, user_id)).tags
    tags = {*before, *clean_tags(add)} - {*map(clean_tag, remove)}
    return await update_user(session, user_id, Changes(tags=tuple(tags)), actor=actor)


async def set_tag_active(
    session: AsyncSession, tag: str, *, active: bool, actor: Actor
) -> SetActive:
    """Disable or enable everybody who has a tag, except superusers; all in this transaction.

    Raises:
        InvalidTag, UnknownTag: nobody can have it, or nobody does.

    """
    members = await lock_tagged(session, tag)
    if not members:
        raise UnknownTag(_nobody(clean_tag(tag)))
    ordinary = [user for user in members if not user.is_superuser]
    changing = [user for user in ordinary if user.is_active is not active]
    before = [user_row(user) for user in changing]
    for user in changing:
        user.is_active = active
    await session.flush()
    if not active:
        await end_all_tokens(session, [user.account.id for user in changing])
        await forget_all_browsers(session, [user.id for user in changing])
    for old, user in zip(before, changing, strict=True):
        record_user(session, actor, old, user_row(user))
    return SetActive(len(changing), len(members) - len(ordinary))


def _nobody(tag: str) -> str:
    return f"no user has the tag {tag}"
