"""Sign-in tokens, which a user gets for a password: rows of `api_keys` of their own kind.

They are found and refused like keys, by the same look-up. Callers decide who gets one. Works in
the caller's transaction and never commits. SQLAlchemy's rows are for `people` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, or_, select, update

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.tables import ApiKey, SignIn
from tokenbalance.people.limit_rows import bind_key, forget_counts
from tokenbalance.people.limits import NO_LIMITS, KeyLimits
from tokenbalance.people.secrets import SIGN_IN_MARK, new_secret, prefix, sha256
from tokenbalance.people.traces import record_ended_tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Select, Update
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor


class UnknownToken(Exception):
    """No sign-in token that still works has this id, or it is another account's."""


@dataclass(frozen=True, slots=True)
class Device:
    """With what somebody signed in."""

    via: str
    """`browser` or `api`."""
    agent: str
    """Program and system, such as `Firefox on Linux`; empty if unknown."""
    address: str
    """The IP address; empty if unknown."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A sign-in token that works, without its secret."""

    id: int
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    device: Device | None
    """None: from before this was recorded."""


async def create_token(
    session: AsyncSession,
    account_id: int,
    lifetime: timedelta,
    device: Device | None = None,
    limits: KeyLimits = NO_LIMITS,
) -> tuple[ApiKey, str]:
    """Create a token and its secret, which cannot be shown again."""
    secret = new_secret(SIGN_IN_MARK)
    token = ApiKey(
        account_id=account_id,
        kind="sign-in",
        prefix=prefix(secret),
        secret_sha256=sha256(secret),
        expires_at=func.clock_timestamp() + lifetime,
        limits=limits.as_document(),
    )
    session.add(token)
    await session.flush()
    await bind_key(session, token)
    await session.refresh(token)
    await _forget_devices(session, account_id)
    if device is not None:
        session.add(
            SignIn(
                token_id=token.id,
                account_id=account_id,
                via=device.via,
                agent=device.agent,
                address=device.address,
            )
        )
        await session.flush()
    return token, secret


async def tokens_page(
    session: AsyncSession, account_id: int, after: str | None, limit: int
) -> Page[TokenRow]:
    """Return a page of an account's tokens that work, newest first.

    Args:
        session: the caller's transaction.
        account_id: whose.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    query = _tokens(account_id).limit(limit + 1)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        query = query.where(ApiKey.id < last_id)
    return page_of(await _rows(session, query), limit, lambda token: (token.id,))


async def list_tokens(session: AsyncSession, account_id: int) -> Sequence[TokenRow]:
    """Return every token of an account that works, newest first."""
    return await _rows(session, _tokens(account_id))


async def end_token(session: AsyncSession, secret: str) -> None:
    """End a token at once; API keys and unknown secrets are ignored."""
    # Tokens are ASCII; not all other text could be encoded for hashing.
    if secret.isascii():
        await session.execute(_end().where(ApiKey.secret_sha256 == sha256(secret)))


async def end_token_by_id(
    session: AsyncSession, token_id: int, account_id: int | None = None, *, actor: Actor
) -> TokenRow:
    """End a token at once, and return it.

    Args:
        session: the caller's transaction.
        token_id: which token.
        account_id: only if it is this account's; None: whosever it is.
        actor: who ends it, to be recorded.

    Raises:
        UnknownToken: there is no such token, or it has ended already.

    """
    # The column cannot even be compared with a larger number.
    by_id = ApiKey.id == (token_id if 0 < token_id <= ID_MAX else 0)
    query = _tokens(account_id).where(by_id).with_for_update(of=ApiKey, key_share=True)
    found = await _rows(session, query)
    if not found:
        msg = f"no sign-in token that works has the id {token_id}"
        raise UnknownToken(msg)
    owners = await session.scalars(_end().where(by_id).returning(ApiKey.account_id))
    await record_ended_tokens(session, actor, owners.one(), [token_id])
    return found[0]


async def end_tokens(
    session: AsyncSession, account_id: int, keep_key_id: int | None = None, *, actor: Actor
) -> None:
    """End every token of an account at once, except `keep_key_id`; each end is recorded."""
    ended = await invalidate_tokens(session, account_id, keep_key_id)
    await record_ended_tokens(session, actor, account_id, ended)


async def invalidate_tokens(
    session: AsyncSession, account_id: int, keep_key_id: int | None
) -> Sequence[int]:
    """End tokens as `end_tokens` does, and record nothing; for `people` only.

    Returns:
        The ids of those that worked.

    """
    ending = _end().where(ApiKey.account_id == account_id, _works())
    if keep_key_id is not None:
        ending = ending.where(ApiKey.id != keep_key_id)
    return sorted(await session.scalars(ending.returning(ApiKey.id)))


async def end_all_tokens(session: AsyncSession, account_ids: Collection[int]) -> None:
    """End all tokens of several accounts as `invalidate_tokens` does; for `people` only."""
    ending = _end().where(ApiKey.account_id.in_(account_ids), _works())
    await session.execute(ending, execution_options={"synchronize_session": False})


async def _forget_devices(session: AsyncSession, account_id: int) -> None:
    """Remove what was recorded about tokens of an account that no longer work, and their counts."""
    ended_of_account = select(ApiKey.id).where(
        ApiKey.account_id == account_id, ApiKey.kind == "sign-in", ~_works()
    )
    await forget_counts(session, account_id, ended_of_account)
    ended = (
        select(SignIn.token_id)
        .join(ApiKey, ApiKey.id == SignIn.token_id)
        .where(SignIn.account_id == account_id, ~_works())
    )
    await session.execute(delete(SignIn).where(SignIn.token_id.in_(ended)))


def _tokens(account_id: int | None) -> Select[ApiKey, SignIn]:
    working = (
        select(ApiKey, SignIn)
        .outerjoin(SignIn, SignIn.token_id == ApiKey.id)
        .where(_works())
        .order_by(ApiKey.id.desc())
    )
    return working if account_id is None else working.where(ApiKey.account_id == account_id)


async def _rows(session: AsyncSession, query: Select[ApiKey, SignIn]) -> Sequence[TokenRow]:
    return [_token_row(token, sign_in) for token, sign_in in await session.execute(query)]


def _token_row(token: ApiKey, sign_in: SignIn | None) -> TokenRow:
    return TokenRow(
        id=token.id,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        device=sign_in and Device(sign_in.via, sign_in.agent, sign_in.address),
    )


def _works() -> ColumnElement[bool]:
    expires_later = ApiKey.expires_at > func.clock_timestamp()
    return (
        (ApiKey.kind == "sign-in")
        & ApiKey.revoked_at.is_(None)
        & or_(ApiKey.expires_at.is_(None), expires_later)
    )


def _end() -> Update:
    return (
        update(ApiKey)
        .where(ApiKey.kind == "sign-in", ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
