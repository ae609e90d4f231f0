"""Sign-in tokens: what somebody gets for a password. Rows of `api_keys` of a kind of their own.

So they are found, refused and used like keys, by the same look-up. Who gets one is not decided
here. Works in the caller's transaction and never commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, update

from tokenbalance.database.tables import ApiKey
from tokenbalance.people.secrets import SIGN_IN_MARK, new_secret, prefix, sha256

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import Update
    from sqlalchemy.ext.asyncio import AsyncSession


async def create_token(
    session: AsyncSession, account_id: int, lifetime: timedelta
) -> tuple[ApiKey, str]:
    """Make a token and its secret, which is handed out this once."""
    secret = new_secret(SIGN_IN_MARK)
    token = ApiKey(
        account_id=account_id,
        kind="sign-in",
        prefix=prefix(secret),
        secret_sha256=sha256(secret),
        expires_at=func.clock_timestamp() + lifetime,
    )
    session.add(token)
    await session.flush()
    await session.refresh(token)
    return token, secret


async def end_token(session: AsyncSession, secret: str) -> None:
    """Make a token stop working at once; what is none, or an API key, is left alone."""
    # None has other characters, of which not all could be hashed.
    if secret.isascii():
        await session.execute(_end().where(ApiKey.secret_sha256 == sha256(secret)))


async def end_tokens(
    session: AsyncSession, account_id: int, keep_key_id: int | None = None
) -> None:
    """Make every token of an account stop working at once, but for the one that asks."""
    ending = _end().where(ApiKey.account_id == account_id)
    if keep_key_id is not None:
        ending = ending.where(ApiKey.id != keep_key_id)
    await session.execute(ending)


def _end() -> Update:
    return (
        update(ApiKey)
        .where(ApiKey.kind == "sign-in", ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
