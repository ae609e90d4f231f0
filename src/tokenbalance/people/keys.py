"""API keys of an account: create, list, change, rotate, revoke.

A secret is returned once and never stored. Works in the caller's transaction and never commits.
Returns frozen rows. Sign-in tokens, which are in the same table, are invisible here.

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

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.tables import INSUFFICIENT_STATUSES, ApiKey
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.rows import key_row
from tokenbalance.people.secrets import new_secret, prefix, sha256
from tokenbalance.people.traces import lock_key, record_key, record_new_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from sqlalchemy import ColumnElement, Select, Update
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.rows import KeyRow

KEY_NAME_CHARS_MAX: Final = 200
STATUS_CHOICES: Final = INSUFFICIENT_STATUSES
"""For a request that the balance does not cover."""


class ApiKeyError(Exception):
    """The change of a key is refused; the message is one line for people."""


class InvalidExpiry(ApiKeyError):
    """The expiry is in the past, has no time zone, or is out of range."""


class InvalidInsufficientStatus(ApiKeyError):
    """The status is neither 402 nor 429."""


class InvalidKeyName(ApiKeyError):
    """The name is too long or has control characters."""


class KeyEnded(ApiKeyError):
    """The key was revoked or has expired, and cannot be changed any more."""


class UnknownKey(ApiKeyError):
    """No key has this id, or it is another account's."""


class KeyChanges(TypedDict, total=False):
    """Changes of a key; a missing field stays as it is."""

    name: str
    expires_at: datetime | None
    insufficient_status: int | None


async def create_key(  # noqa: PLR0913 - the fields of a key, by name
    session: AsyncSession,
    account_id: int,
    *,
    name: str = "",
    expires_at: datetime | None = None,
    limits: KeyLimits | None = None,
    insufficient_status: int | None = None,
    actor: Actor | None = None,
) -> tuple[KeyRow, str]:
    """Create a key and its secret. The secret cannot be shown again: only its SHA-256 is stored.

    Args:
        session: the caller's transaction.
        account_id: the account that pays for its requests.
        name: what it is for.
        expires_at: with a time zone; None: never.
        limits: None: no limits.
        insufficient_status: 402 or 429, the status of a request that the balance does not cover;
            None: the operator's choice.
        actor: who creates it, to be recorded.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus: the value is not acceptable.

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
    await record_new_key(session, actor, key_row(key))
    return key_row(key), secret


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
    session: AsyncSession, account_id: int | None, after: str | None, limit: int
) -> Page[KeyRow]:
    """Return a page of keys in the order of creation.

    Args:
        session: the caller's transaction.
        account_id: which account; None: every account.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    query = _keys().limit(limit + 1)
    if account_id is not None:
        query = query.where(ApiKey.account_id == account_id)
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
    key = await session.scalar(select(ApiKey).where(*_one(key_id, account_id)))
    if key is None:
        msg = f"no key has the id {key_id}"
        raise UnknownKey(msg)
    return key_row(key)


async def change_key(
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    *,
    actor: Actor | None = None,
    **changes: Unpack[KeyChanges],
) -> KeyRow:
    """Change a key; its secret keeps working.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        actor: who changes it, to be recorded.
        **changes: the new values.

    Raises:
        InvalidKeyName, InvalidExpiry, InvalidInsufficientStatus: the value is not acceptable.
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
    new = _working(key_id, account_id).values(**values)
    return await _change(session, key_id, account_id, new, actor)


async def rotate_key(
    session: AsyncSession, key_id: int, account_id: int | None, actor: Actor | None = None
) -> tuple[KeyRow, str]:
    """Give a key a new secret; the old secret stops working at once. All else stays as it is.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        actor: who does it, to be recorded.

    Raises:
        UnknownKey: no key has this id, or it is another account's.
        KeyEnded: it was revoked or has expired.

    """
    secret = new_secret()
    new = _working(key_id, account_id).values(secret_sha256=sha256(secret), prefix=prefix(secret))
    return await _change(session, key_id, account_id, new, actor), secret


async def revoke_key(
    session: AsyncSession, key_id: int, account_id: int | None = None, actor: Actor | None = None
) -> KeyRow:
    """Revoke a key, at once and permanently. Revoking it again changes nothing.

    Args:
        session: the caller's transaction.
        key_id: which key.
        account_id: the account that it must belong to; None: any.
        actor: who does it, to be recorded.

    Raises:
        UnknownKey: no key has this id, or it is another account's.

    """
    before = await lock_key(session, key_id, actor)
    # The time of the first revocation stays.
    revoked = (
        update(ApiKey)
        .where(*_one(key_id, account_id))
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.clock_timestamp()))
        .returning(ApiKey)
    )
    key = await session.scalar(revoked, execution_options={"populate_existing": True})
    if key is None:
        return await get_key(session, key_id, account_id)
    await record_key(session, actor, before, key_row(key))
    return key_row(key)


def clean_key_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidKeyName: too long, or it has control characters.

    """
    name = name.strip()
    if len(name) > KEY_NAME_CHARS_MAX or not name.isprintable():
        msg = (
            f"the name of a key must have at most {KEY_NAME_CHARS_MAX} characters"
            " and no control characters"
        )
        raise InvalidKeyName(msg)
    return name


def _clean_expiry(expires_at: datetime) -> datetime:
    try:
        utc = expires_at.astimezone(UTC) if expires_at.tzinfo else None
    except OverflowError:
        utc = None
    if utc is None or utc <= datetime.now(UTC):
        msg = "the expiry of a key must be in the future and have a time zone"
        raise InvalidExpiry(msg)
    return utc


def _known_status(status: int | None) -> int | None:
    if status is not None and status not in INSUFFICIENT_STATUSES:
        msg = f"insufficient_status must be one of {INSUFFICIENT_STATUSES}, or null"
        raise InvalidInsufficientStatus(msg)
    return status


def _working(key_id: int, account_id: int | None) -> Update:
    """Build the change of one key that has not ended."""
    return (
        update(ApiKey)
        .where(*_one(key_id, account_id), ApiKey.revoked_at.is_(None))
        .where(or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp()))
    )


async def _change(
    session: AsyncSession,
    key_id: int,
    account_id: int | None,
    change: Update,
    actor: Actor | None,
) -> KeyRow:
    before = await lock_key(session, key_id, actor)
    changed = change.returning(ApiKey)
    key = await session.scalar(changed, execution_options={"populate_existing": True})
    if key is None:
        ended = await get_key(session, key_id, account_id)
        msg = f"key {ended.id} was revoked or has expired: create a new one"
        raise KeyEnded(msg)
    await record_key(session, actor, before, key_row(key))
    return key_row(key)


def _keys() -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.kind == "key").order_by(ApiKey.id)


def _one(key_id: int, account_id: int | None) -> list[ColumnElement[bool]]:
    """Build the conditions that find one key."""
    # The column cannot even be compared with a larger number.
    key_id = key_id if 0 < key_id <= ID_MAX else 0
    found = [ApiKey.id == key_id, ApiKey.kind == "key"]
    return found if account_id is None else [*found, ApiKey.account_id == account_id]
