"""Signing in with e-mail and password, and signing out.

A failure reveals nothing: content, work and time are the same whether the e-mail is unknown, the
user disabled, or the password wrong. Each attempt is counted before its password is verified and
taken back when the password was right. No transaction is open while a password is verified.

    SignInError
    |-- WrongCredentials
    |   `-- WrongPassword
    `-- SlowDown
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.people.agents import describe_agent
from tokenbalance.people.attempts import (
    Counted,
    Origin,
    TooSoon,
    count_attempt,
    forgive,
    take_back,
)
from tokenbalance.people.emails import EMAIL_CHARS_MAX, normal_email
from tokenbalance.people.known_browsers import find_browser, remember_browser
from tokenbalance.people.passwords import Busy, Verdict, verify_password
from tokenbalance.people.rows import user_row
from tokenbalance.people.sign_in_tokens import Device, create_token, end_token
from tokenbalance.people.turns import turn
from tokenbalance.people.users import UnknownUser, find_record, lock_record

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.database.tables import User
    from tokenbalance.people.rows import UserRow

FAILURE_RESPONSE_AFTER_S: Final = 0.8
"""A failure is returned after this time, which is longer than any stored hash takes to verify. If
it was queued behind others, after a multiple of it, so that the work it took never shows."""
_VERIFICATIONS_MAX: Final = 2
"""An attempt is given up when the stored hash changes this often while it is verified."""


class SignInError(Exception):
    """The sign-in failed; the message is one line for people."""


class WrongCredentials(SignInError):
    """The e-mail or the password is wrong, or the user is disabled."""


class WrongPassword(WrongCredentials):
    """The user is signed in, and their current password is another one."""


class SlowDown(SignInError):
    """Too many recent failures; the password of this attempt was not verified."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed sign-in attempts: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Way:
    """How a user signs in, and for how long."""

    via: str
    lifetime: timedelta


API_SIGN_IN: Final = Way("api", timedelta(days=30))
BROWSER_SIGN_IN: Final = Way("browser", timedelta(hours=12))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to sign in."""

    email: str
    password: str = field(repr=False)
    address: str
    """The client's IP address; anything else counts as one address."""
    user_agent: str = ""
    """The header, by which the user recognises the sign-in."""
    browser: str | None = field(default=None, repr=False)
    """The secret of the browser, if it shows one."""


@dataclass(frozen=True, slots=True)
class SignInResult:
    """The user who signed in, and the token that proves it."""

    user: UserRow
    secret: str = field(repr=False)
    """The token, which is not stored."""
    expires_at: datetime
    browser: str | None = field(default=None, repr=False)
    """The browser's new secret, for a cookie; None: not a browser."""


async def sign_in(sessions: Sessions, attempt: Attempt, way: Way) -> SignInResult:
    """Sign a user in.

    Args:
        sessions: the database; transactions are opened and committed here.
        attempt: e-mail, password, and where they come from.
        way: one of the constants above.

    Raises:
        WrongCredentials: after a fixed time, or a multiple of it.
        SlowDown: at once.
        Busy: too many passwords are queued; the attempt does not count.

    """
    clock = asyncio.get_running_loop()
    begun_at = clock.time()
    try:
        async with turn():
            return await _sign_in(sessions, attempt, way)
    except WrongCredentials:
        await asyncio.sleep(_wait_after(clock.time() - begun_at))
        raise


async def confirm(sessions: Sessions, attempt: Attempt) -> None:
    """Verify the password of a user who is signed in; counted like a sign-in, creates no token.

    Raises:
        WrongPassword, SlowDown, Busy: as `sign_in`, but at once.

    """
    async with turn():
        begun = await _begin(sessions, attempt)
        if not (await _verify(sessions, begun, attempt.password)).ok:
            msg = "the current password is wrong"
            raise WrongPassword(msg)
        async with sessions.begin() as session:
            await forgive(session, begun.counted)


async def sign_out(session: AsyncSession, secret: str) -> None:
    """End a token from `sign_in`; other secrets are ignored. Works in the caller's transaction."""
    await end_token(session, secret)


@dataclass(frozen=True, slots=True)
class _Begun:
    """An attempt that was counted."""

    counted: Counted
    user_id: int
    stored: str | None
    """The hash to verify the password against; None if no password is right."""


async def _sign_in(sessions: Sessions, attempt: Attempt, way: Way) -> SignInResult:
    begun = await _begin(sessions, attempt)
    for _ in range(_VERIFICATIONS_MAX):
        verdict = await _verify(sessions, begun, attempt.password)
        if not verdict.ok:
            break
        async with sessions.begin() as session:
            user = await lock_record(session, begun.user_id)
            # The hash may have changed in the meantime, when another sign-in upgraded it.
            if _stored(user) == begun.stored:
                await forgive(session, begun.counted)
                user.password_hash = verdict.new_hash or user.password_hash
                return await _admit(session, user, attempt, way)
        begun = replace(begun, stored=_stored(user))
    raise _wrong()


def _wrong() -> WrongCredentials:
    return WrongCredentials("wrong e-mail or password")


def _wait_after(took_s: float) -> float:
    """How long to delay a failure, in seconds."""
    return -took_s % FAILURE_RESPONSE_AFTER_S


async def _begin(sessions: Sessions, attempt: Attempt) -> _Begun:
    """Count the attempt, and find the hash to verify its password against."""
    email = normal_email(attempt.email)
    if not email.isprintable() or len(email) > EMAIL_CHARS_MAX:
        # No user's, as the empty one; the database could not even search for it.
        email = ""
    # Before it is counted: as much work for an unknown e-mail as for a known one.
    async with sessions() as session:
        user = await _find(session, attempt.email if email else "")
        user_id = 0 if user is None else user.id
        browser_id = await _find_browser(session, user_id, attempt.browser)
    try:
        counted = await count_attempt(sessions, Origin(email, attempt.address, browser_id))
    except TooSoon as refusal:
        raise SlowDown(refusal.retry_after_s) from None
    return _Begun(counted, user_id, None if user is None else _stored(user))


async def _find_browser(session: AsyncSession, user_id: int, secret: str | None) -> int | None:
    # Ours are ASCII; not all other text could be encoded for hashing.
    if secret is None or not secret.isascii():
        return None
    return await find_browser(session, user_id, secret)


async def _find(session: AsyncSession, email: str) -> User | None:
    try:
        return await find_record(session, email)
    except UnknownUser:
        return None


def _stored(user: User) -> str | None:
    return user.password_hash if user.is_active else None


async def _verify(sessions: Sessions, begun: _Begun, password: str) -> Verdict:
    try:
        return await verify_password(password, begun.stored)
    except Busy:
        async with sessions.begin() as session:
            await take_back(session, begun.counted)
        raise


async def _admit(session: AsyncSession, user: User, attempt: Attempt, way: Way) -> SignInResult:
    device = Device(way.via, describe_agent(attempt.user_agent), attempt.address)
    token, secret = await create_token(session, user.account.id, way.lifetime, device)
    browser = None
    if way is BROWSER_SIGN_IN:
        browser = await remember_browser(session, user.id, attempt.browser)
    user.last_sign_in_at = token.created_at
    await session.flush()
    return SignInResult(user_row(user), secret, cast("datetime", token.expires_at), browser)
