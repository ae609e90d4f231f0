"""Links by which new users set their first password: random, stored as SHA-256, used once.

A link works until it expires, and only while its user is active and has no password, however that
was set. Wrong secrets are counted and slowed down by address; nothing tells a wrong one from one
that was used or has expired. No transaction is open while the password is hashed.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select

from tokenbalance.database.tables import User, WelcomeLink
from tokenbalance.model import Actor
from tokenbalance.people.attempts import count_link, take_back
from tokenbalance.people.passwords import hash_password
from tokenbalance.people.secrets import sha256
from tokenbalance.people.turns import turn
from tokenbalance.people.users import Changes, get_user, lock_record, update_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Session, Sessions
    from tokenbalance.people.password_rules import PasswordRules
    from tokenbalance.people.rows import UserRow

_SECRET_CHARS: Final = 43
"""Of 256 random bits, as `secrets.new_secret` writes them."""


class UnknownLink(Exception):
    """No link has this secret, or it does not work any more."""

    def __init__(self) -> None:
        super().__init__("this link is wrong, was used before, or has expired")


async def open_link(sessions: Sessions, secret: str, address: str) -> UserRow:
    """Find the user of a link, which is not used up.

    Raises:
        UnknownLink: it does not work.
        TooSoon: too many wrong ones came from this address.

    """
    async with sessions.begin() as session:
        counted = await count_link(session, address)
    async with sessions.begin() as session:
        user = await _user_of(session, secret)
        await take_back(session, counted)
    return user


async def use_link(
    sessions: Sessions, secret: str, password: str, rules: PasswordRules, address: str
) -> UserRow:
    """Set the password of a link's user; the link does not work any more.

    Raises:
        UnknownLink: it does not work.
        TooSoon: too many wrong ones came from this address.
        PasswordError: the password is not acceptable; the link still works.
        Busy: too many sign in or up, in all or at this address.

    """
    # In turn with those who sign in, so that no flood fills the queue of passwords.
    async with turn(address):
        user = await open_link(sessions, secret, address)
        password_hash = await hash_password(password, rules, user.email)
        async with sessions.begin() as session:
            # Locked first: of two who use the link at once, the second finds it used.
            _ = await lock_record(session, user.id)
            user = await _user_of(session, secret)
            _ = await session.execute(delete(WelcomeLink).where(WelcomeLink.user_id == user.id))
            actor = Actor(user.email, user.id, address=address)
            changes = Changes(password_hash=password_hash)
            return await update_user(session, user.id, changes, actor=actor)


async def _user_of(session: Session, secret: str) -> UserRow:
    if len(secret) != _SECRET_CHARS or not secret.isascii():
        raise UnknownLink
    digest = sha256(secret)
    found = (
        await session.execute(
            select(WelcomeLink.secret_sha256, WelcomeLink.user_id)
            .join(User, User.id == WelcomeLink.user_id)
            .where(
                WelcomeLink.secret_sha256 == digest,
                WelcomeLink.expires_at > func.now(),
                User.is_active,
                User.password_hash.is_(None),
            )
        )
    ).one_or_none()
    # The look-up is by hash, so its duration says nothing about a secret; nor does this.
    if found is None or not compare_digest(found[0], digest):
        raise UnknownLink
    return await get_user(session, found[1])
