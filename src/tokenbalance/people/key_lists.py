"""API keys of accounts, one or many, with what is shown of them. Writes nothing.

Sign-in tokens, which are in the same table, are invisible here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.tables import ApiKey
from tokenbalance.people.key_errors import UnknownKey
from tokenbalance.people.rows import key_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.people.rows import KeyRow


async def list_keys(session: AsyncSession, account_id: int) -> Sequence[KeyRow]:
    """Return every key of an account in the order of creation, revoked and expired keys too."""
    query = _keys().where(ApiKey.account_id == account_id)
    return [key_row(key) for key in await session.scalars(query)]


async def newest_keys(session: AsyncSession, account_id: int, limit: int) -> Sequence[KeyRow]:
    """Return the newest keys of an account, newest first."""
    query = select(ApiKey).where(ApiKey.kind == "key", ApiKey.account_id == account_id)
    newest = query.order_by(ApiKey.id.desc()).limit(limit)
    return [key_row(key) for key in await session.scalars(newest)]


async def keys_page(
    session: AsyncSession,
    account_id: int | None,
    after: str | None,
    limit: int,
    user_id: int | None = None,
) -> Page[KeyRow]:
    """Return a page of keys in the order of creation.

    Args:
        session: the caller's transaction.
        account_id: which account; None: every account.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.
        user_id: only keys that this user answers for; None: all.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    query = _keys().limit(limit + 1)
    if account_id is not None:
        query = query.where(ApiKey.account_id == account_id)
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        query = query.where(ApiKey.id > last_id)
    rows = [key_row(key) for key in await session.scalars(query)]
    return page_of(rows, limit, lambda key: (key.id,))


async def get_key(session: AsyncSession, key_id: int, account_id: int | None) -> KeyRow:
    """Return one key, even if it has ended.

    Args:
        session: the caller's.
        key_id: which key.
        account_id: the account that it must belong to; None: any.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    key = await session.scalar(select(ApiKey).where(*one_key(key_id, account_id)))
    if key is None:
        raise UnknownKey(key_id)
    return key_row(key)


async def lock_key(session: AsyncSession, key_id: int, account_id: int | None) -> KeyRow | None:
    """Read a key and keep it as it is until the transaction ends, for a change; None: none such."""
    locked = select(ApiKey).where(*one_key(key_id, account_id)).with_for_update(key_share=True)
    key = await session.scalar(locked, execution_options={"populate_existing": True})
    return None if key is None else key_row(key)


def one_key(key_id: int, account_id: int | None) -> list[ColumnElement[bool]]:
    """Build the conditions that find one key."""
    # The column cannot even be compared with a larger number.
    key_id = key_id if 0 < key_id <= ID_MAX else 0
    found = [ApiKey.id == key_id, ApiKey.kind == "key"]
    return found if account_id is None else [*found, ApiKey.account_id == account_id]


def _keys() -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.kind == "key").order_by(ApiKey.id)
