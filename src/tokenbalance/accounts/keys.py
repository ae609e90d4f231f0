"""API keys of an account: made, listed, revoked. The secret is handed out once and never stored.

Works in the caller's transaction and never commits.

    ApiKeyError
    |-- InvalidKeyName
    `-- UnknownKey
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, update

from tokenbalance.accounts.secrets import new_secret, prefix, sha256
from tokenbalance.database.tables import ApiKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

KEY_NAME_CHARS_MAX: Final = 200


class ApiKeyError(Exception):
    """What was asked of a key cannot be done; the message is one line for people."""


class InvalidKeyName(ApiKeyError):
    """A name with control characters, or a very long one."""


class UnknownKey(ApiKeyError):
    """No key has this id."""


async def create_key(
    session: AsyncSession,
    account_id: int,
    *,
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and its secret. The secret cannot be shown again: only its SHA-256 is kept.

    Raises:
        InvalidKeyName: the name is not acceptable.

    """
    name = name.strip()
    if len(name) > KEY_NAME_CHARS_MAX or not name.isprintable():
        msg = f"a key's name has at most {KEY_NAME_CHARS_MAX} characters, none of them control"
        raise InvalidKeyName(msg)
    secret = new_secret()
    key = ApiKey(
        account_id=account_id,
        name=name,
        prefix=prefix(secret),
        secret_sha256=sha256(secret),
        expires_at=expires_at,
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    return key, secret


async def list_keys(session: AsyncSession, account_id: int) -> Sequence[ApiKey]:
    """Every key of an account, revoked and expired ones too, in the order of their creation."""
    query = select(ApiKey).where(ApiKey.account_id == account_id).order_by(ApiKey.id)
    return (await session.scalars(query)).all()


async def revoke_key(session: AsyncSession, key_id: int) -> ApiKey:
    """Make a key stop working at once and for good. Revoking again changes nothing.

    Raises:
        UnknownKey: no key has this id.

    """
    # The first revocation's time stays: it says since when the key has been of no use.
    revoked = (
        update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.clock_timestamp()))
        .returning(ApiKey)
    )
    key = await session.scalar(revoked, execution_options={"populate_existing": True})
    if key is None:
        msg = f"no key has the id {key_id}"
        raise UnknownKey(msg)
    return key
