"""Browsers in which users have signed in before: others' failures do not slow those down.

A browser shows a random secret from a cookie. It proves neither who uses the browser nor a password
and opens nothing. Works in the caller's transaction and never commits.
"""

from __future__ import annotations

import re
from datetime import timedelta
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.tables import KnownBrowser
from tokenbalance.people.secrets import sha256

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

FORGOTTEN_AFTER: Final = timedelta(days=90)
"""Since the user last signed in there."""
BROWSERS_MAX: Final = 20
"""Of one user; the one that was used least recently is forgotten."""
_SECRET_BYTES: Final = 32
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""How `token_urlsafe` writes that many bytes."""


def looks_like_secret(text: str) -> bool:
    """Whether this may be the secret of a browser; no statement is needed to tell."""
    return _SECRET.fullmatch(text) is not None


async def find_browser(session: AsyncSession, user_id: int, secret: str) -> int | None:
    """Return the id of a user's browser; None if the user has not signed in there."""
    since = func.now() - FORGOTTEN_AFTER
    return await session.scalar(
        select(KnownBrowser.id).where(
            KnownBrowser.user_id == user_id,
            KnownBrowser.secret_sha256 == sha256(secret),
            KnownBrowser.last_sign_in_at > since,
        )
    )


async def remember_browser(session: AsyncSession, user_id: int, secret: str | None) -> str:
    """Remember a browser in which a user signs in, and return its new secret.

    The secret changes at every sign-in, for all users of the browser: one that somebody else has
    put into it, or copied from it, is worth nothing afterwards.

    Args:
        session: a transaction that has locked the user.
        user_id: who signs in.
        secret: what the browser showed, if anything.

    """
    new = token_urlsafe(_SECRET_BYTES)
    if secret is not None and secret.isascii():
        await _exchange(session, secret, new)
    now = func.clock_timestamp()
    await session.execute(
        insert(KnownBrowser)
        .values(user_id=user_id, secret_sha256=sha256(new), last_sign_in_at=now)
        .on_conflict_do_update(
            index_elements=[KnownBrowser.user_id, KnownBrowser.secret_sha256],
            set_={"last_sign_in_at": now},
        )
    )
    await session.execute(
        delete(KnownBrowser).where(KnownBrowser.user_id == user_id, _surplus(user_id))
    )
    return new


async def forget_all_browsers(session: AsyncSession, user_ids: Collection[int]) -> None:
    """Forget the browsers of several users."""
    await session.execute(delete(KnownBrowser).where(KnownBrowser.user_id.in_(user_ids)))


async def forget_browsers(
    session: AsyncSession, user_id: int, keep_secret: str | None = None
) -> None:
    """Forget every browser of a user, except the one with this secret."""
    others = delete(KnownBrowser).where(KnownBrowser.user_id == user_id)
    if keep_secret is not None:
        others = others.where(KnownBrowser.secret_sha256 != sha256(keep_secret))
    await session.execute(others)


async def _exchange(session: AsyncSession, secret: str, new: str) -> None:
    # In one order, in case two users sign in there at once.
    same = select(KnownBrowser.id).where(KnownBrowser.secret_sha256 == sha256(secret))
    ids = (await session.scalars(same.order_by(KnownBrowser.id).with_for_update())).all()
    await session.execute(
        update(KnownBrowser).where(KnownBrowser.id.in_(ids)).values(secret_sha256=sha256(new))
    )


def _surplus(user_id: int) -> ColumnElement[bool]:
    latest = (
        select(KnownBrowser.id)
        .where(KnownBrowser.user_id == user_id)
        .order_by(KnownBrowser.last_sign_in_at.desc(), KnownBrowser.id.desc())
        .limit(BROWSERS_MAX)
    )
    return or_(
        KnownBrowser.id.not_in(latest.scalar_subquery()),
        KnownBrowser.last_sign_in_at < func.now() - FORGOTTEN_AFTER,
    )
