"""API keys of an account: made, listed, changed, rotated, revoked.

A secret is shown once and never stored. Works in the caller's transaction and never commits.
Sign-in tokens, which lie in the same table, are never seen here.

    ApiKeyError
    |-- InvalidExpiry
    |-- InvalidInsufficientStatus
    |-- InvalidKeyName
    |-- KeyEnded
    `-- UnknownKey
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict

from sqlalchemy import func, or_, select, update

from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.tables import INSUFFICIENT_STATUSES, ApiKey
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.secrets import new_secret, prefix, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from sqlalchemy import ColumnElement, Select, Update
    from sqlalchemy.ext.asyncio import AsyncSession

KEY_NAME_CHARS_MAX: Final = 200
_BIGINT_END: Final = 2**63


class ApiKeyError(Exception):
    """What was asked of a key cannot be done; the message is one line for people."""


class InvalidExpiry(ApiKeyError):
    """A time that is over, or one that no calendar has."""


class InvalidInsufficientStatus(ApiKeyError):
    """A status that says nothing about a balance."""


class InvalidKeyName(ApiKeyError):
    """A name with control characters, or a very long one."""


class KeyEnded(ApiKeyError):
    """The key was revoked or has expired, which is for good."""


class UnknownKey(ApiKeyError):
    """No key has this id, or it is another account's."""


class KeyChanges(TypedDict, total=False):
    """What is to be different about a key; what is left out stays as it is."""

    name: str
    expires_at: datetime | None
    insufficient_status: int | None


async def create_key(  # noqa: PLR0913 - what there is to say about a key, by name
    session: AsyncSession,
    account_id: int,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    limits: KeyLimits | None = None,
    insufficient_status: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and its secret. The secret cannot be shown again: only its SHA-256 is kept.

    Args:
        session: the caller's transaction.
        account_id: who pays for what is done with it.
        name: what it is for.
        expires_at: with its zone; None for never.
        limits: None for none.
        insufficient_status: 402 or 429, what a request is answered that the balance does not
            cover; None for what the operator has chosen.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus: that is not acceptable.

    """
    secret = new_secret()
    key = ApiKey(
        account_id=account_id,
        kind="key",
        name=clean_key_name(name),
        prefix=prefix(secret),
        secret_sha256=sha256(secret),
        expires_at=None if expires_at is None else _clean_expiry(expires_at),
        limits=(limits or KeyLimits()).as_document(),
        insufficient_status=_known_status(insufficient_status),
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    return key, secret


async def list_keys(session: AsyncSession, account_id: int) -> Sequence[ApiKey]:
    """Every key of an account, revoked and expired ones too, in the order of their creation."""
    query = _keys().where(ApiKey.account_id == account_id)
    return (await session.scalars(query)).all()


async def newest_keys(session: AsyncSession, account_id: int, limit: int) -> Sequence[ApiKey]:
    """The last that `list_keys` gives, newest first."""
    query = select(ApiKey).where(ApiKey.kind == "key", ApiKey.account_id == account_id)
    return (await session.scalars(query.order_by(ApiKey.id.desc()).limit(limit))).all()


async def keys_page(
    session: AsyncSession, account_id: int | None, after: str | None, limit: int
) -> Page[ApiKey]:
    """A part of what `list_keys` gives; of every account's keys when `account_id` is None.

    Args:
        session: the caller's transaction.
        account_id: whose.
        after: the `next` of the page before; None for the first page.
        limit: rows at most.

    Raises:
        InvalidCursor: `after` is none of this list.

    """
    query = _keys().limit(limit + 1)
    if account_id is not None:
        query = query.where(ApiKey.account_id == account_id)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        query = query.where(ApiKey.id > last_id)
    return page_of((await session.scalars(query)).all(), limit, lambda key: (key.id,))


async def get_key(session: AsyncSession, key_id: int, account_id: int | None) -> ApiKey:
    """One key, also one that has ended.

    Args:
        session: the caller's.
        key_id: which key.
        account_id: whose key it has to be; None for anybody's.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    key = await session.scalar(select(ApiKey).where(*_one(key_id, account_id)))
    if key is None:
        msg = f"no key has the id {key_id}"
        raise UnknownKey(msg)
    return key


async def change_key(
    session: AsyncSession, key_id: int, account_id: int | None, **changes: Unpack[KeyChanges]
) -> ApiKey:
    """Change what is said about a key; its secret goes on working.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: whose key it has to be; None for anybody's.
        **changes: what is to be different.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus: that is not acceptable.
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.

    """
    values: dict[str, str | int | datetime | None] = {}
    if "name" in changes:
        values["name"] = clean_key_name(changes["name"])
    if "expires_at" in changes:
        expires_at = changes["expires_at"]
        values["expires_at"] = None if expires_at is None else _clean_expiry(expires_at)
    if "insufficient_status" in changes:
        values["insufficient_status"] = _known_status(changes["insufficient_status"])
    return await _change(session, key_id, account_id, _working(key_id, account_id).values(**values))


async def rotate_key(
    session: AsyncSession, key_id: int, account_id: int | None
) -> tuple[ApiKey, str]:
    """Give a key a new secret; the old one stops working at once. All else stays as it is.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: whose key it has to be; None for anybody's.

    Raises:
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.

    """
    secret = new_secret()
    new = _working(key_id, account_id).values(secret_sha256=sha256(secret), prefix=prefix(secret))
    return await _change(session, key_id, account_id, new), secret


async def revoke_key(session: AsyncSession, key_id: int, account_id: int | None = None) -> ApiKey:
    """Make a key stop working at once and for good. Revoking again changes nothing.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: whose key it has to be; None for anybody's.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    # The first revocation's time stays: it says since when the key has been of no use.
    revoked = (
        update(ApiKey)
        .where(*_one(key_id, account_id))
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.clock_timestamp()))
        .returning(ApiKey)
    )
    key = await session.scalar(revoked, execution_options={"populate_existing": True})
    return key or await get_key(session, key_id, account_id)


def clean_key_name(name: str) -> str:
    """The name without surrounding space.

    Raises:
        InvalidKeyName: too long, or with control characters.

    """
    name = name.strip()
    if len(name) > KEY_NAME_CHARS_MAX or not name.isprintable():
        msg = f"a key's name has at most {KEY_NAME_CHARS_MAX} characters, none of them control"
        raise InvalidKeyName(msg)
    return name


def _clean_expiry(expires_at: datetime) -> datetime:
    try:
        utc = expires_at.astimezone(UTC) if expires_at.tzinfo else None
    except OverflowError:
        utc = None
    if utc is None or utc <= datetime.now(UTC):
        msg = "a key's expiry is a time to come, with its zone"
        raise InvalidExpiry(msg)
    return utc


def _known_status(status: int | None) -> int | None:
    if status is not None and status not in INSUFFICIENT_STATUSES:
        msg = f"insufficient_status must be one of {INSUFFICIENT_STATUSES}, or null"
        raise InvalidInsufficientStatus(msg)
    return status


def _working(key_id: int, account_id: int | None) -> Update:
    """The change of one key that still works."""
    return (
        update(ApiKey)
        .where(*_one(key_id, account_id), ApiKey.revoked_at.is_(None))
        .where(or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp()))
    )


async def _change(
    session: AsyncSession, key_id: int, account_id: int | None, change: Update
) -> ApiKey:
    changed = change.returning(ApiKey)
    key = await session.scalar(changed, execution_options={"populate_existing": True})
    if key is None:
        ended = await get_key(session, key_id, account_id)
        msg = f"key {ended.id} was revoked or has expired: make a new one"
        raise KeyEnded(msg)
    return key


def _keys() -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.kind == "key").order_by(ApiKey.id)


def _one(key_id: int, account_id: int | None) -> list[ColumnElement[bool]]:
    """What one key is found by."""
    # A number that the column cannot hold is nobody's.
    key_id = key_id if 0 < key_id < _BIGINT_END else 0
    found = [ApiKey.id == key_id, ApiKey.kind == "key"]
    return found if account_id is None else [*found, ApiKey.account_id == account_id]
