"""The API keys of all accounts with their owners, and those of a member. Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, or_, select

from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.search import has_text
from tokenbalance.database.tables import Account, ApiKey, User
from tokenbalance.people.emails import EMAIL_CHARS_MAX
from tokenbalance.people.rows import OwnedKey, key_row

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession


async def owned_keys_page(
    session: AsyncSession, search: str, state: str, after: str | None, limit: int
) -> Page[OwnedKey]:
    """Return a page of keys, newest first.

    Args:
        session: the caller's.
        search: a part of the key's prefix or name, of its user's e-mail, or of its team's name;
            empty for all.
        state: one of `KEY_STATES`; empty for all.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    # Neither text that Postgres cannot hold nor text longer than the columns is worth a query.
    if not search.isprintable() or len(search) > EMAIL_CHARS_MAX:
        return Page([], None)
    ids = select(ApiKey.id).where(ApiKey.kind == "key").order_by(ApiKey.id.desc())
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        ids = ids.where(ApiKey.id < last_id)
    if search:
        ids = ids.where(_has(search))
    if state:
        ids = ids.where(*_STATES[state])
    # Owners are looked up for the keys of the page only, not for all that are searched.
    found = ids.limit(limit + 1).subquery("found")
    query = (
        select(ApiKey, User.id, func.coalesce(User.email, ""), Account.name)
        .join(found, found.c.id == ApiKey.id)
        .join(Account, Account.id == ApiKey.account_id)
        .outerjoin(User, User.id == ApiKey.user_id)
        .order_by(ApiKey.id.desc())
    )
    owned = (await session.execute(query)).all()
    rows = [OwnedKey(key_row(key), user_id, email, team) for key, user_id, email, team in owned]
    return page_of(rows, limit, lambda owned: (owned.key.id,))


async def keys_of_member(session: AsyncSession, team_id: int, user_id: int) -> tuple[int, ...]:
    """Return the ids of all keys of a team that a user answers for, revoked ones included."""
    keys = select(ApiKey.id).where(ApiKey.account_id == team_id, ApiKey.user_id == user_id)
    return tuple(await session.scalars(keys.order_by(ApiKey.id)))


def _has(search: str) -> ColumnElement[bool]:
    owners = select(User.id).where(has_text(User.email, search))
    teams = select(Account.id).where(Account.kind == "team", has_text(Account.name, search))
    return or_(
        has_text(ApiKey.prefix, search),
        has_text(ApiKey.name, search),
        ApiKey.user_id.in_(owners),
        ApiKey.account_id.in_(teams),
    )


_ENDED: Final = ApiKey.expires_at <= func.now()
_STATES: Final[dict[str, tuple[ColumnElement[bool], ...]]] = {
    "active": (ApiKey.revoked_at.is_(None), func.coalesce(~_ENDED, True)),
    "expired": (ApiKey.revoked_at.is_(None), _ENDED),
    "revoked": (ApiKey.revoked_at.is_not(None),),
}
KEY_STATES: Final = tuple(_STATES)
