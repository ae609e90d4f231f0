"""Sign-in tokens, which a user gets for a password: rows of `api_keys` of their own kind.

They are found and refused like keys, by the same look-up. Callers decide who gets one. Works in
the caller's transaction and never commits. SQLAlchemy's rows are for `people` only.
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
    """Create a token and its secret, which cannot be shown again."""
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
    """End a token at once; API keys and unknown secrets are ignored."""
    # Tokens are ASCII; not all other text could be encoded for hashing.
    if secret.isascii():
        await session.execute(_end().where(ApiKey.secret_sha256 == sha256(secret)))


async def end_tokens(
    session: AsyncSession, account_id: int, keep_key_id: int | None = None
) -> None:
    """End every token of an account at once, except `keep_key_id`."""
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
