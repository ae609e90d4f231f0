"""Signing in with e-mail and password, and out again.

A failure says nothing: it is the same, in content, work and time, whether the e-mail is unknown,
the user disabled, or the password wrong. Each attempt is counted before its password is looked at
and taken back when it was right. No transaction is open while a password is verified.

    SignInError
    |-- WrongCredentials
    `-- SlowDown
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.people.attempts import Counted, TooSoon, count_attempt, forgive, take_back
from tokenbalance.people.passwords import Busy, Verdict, verify_password
from tokenbalance.people.sign_in_tokens import create_token, end_token
from tokenbalance.people.users import EMAIL_CHARS_MAX, UnknownUser, find_user, lock_user

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.database.tables import User

API_SIGN_IN: Final = timedelta(days=30)
"""How long a token is good for that programs get."""
BROWSER_SIGN_IN: Final = timedelta(hours=12)
"""How long a browser stays signed in."""
FAILURE_RESPONSE_AFTER_S: Final = 0.8
"""No failure is known earlier than this, longer than any stored hash takes to verify. Where it had
to wait for others it is known after twice or thrice as long, so that its work never shows."""
_LOOKS: Final = 2
"""At the stored hash, before an attempt is given up during which it was changed."""


class SignInError(Exception):
    """Nobody was signed in; the message is one line for people."""


class WrongCredentials(SignInError):
    """E-mail and password do not belong to somebody who may sign in."""


class SlowDown(SignInError):
    """It has failed too often of late; this attempt was not looked at."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed attempts to sign in: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody signs in with."""

    email: str
    password: str = field(repr=False)
    address: str
    """Where it comes from: an IP address; anything else is one place."""


@dataclass(frozen=True, slots=True)
class SignInResult:
    """Who has signed in, and what shows it from now on."""

    user: User
    """The account is loaded."""
    secret: str = field(repr=False)
    """The token, which is not kept."""
    expires_at: datetime


async def sign_in(sessions: Sessions, attempt: Attempt, lifetime: timedelta) -> SignInResult:
    """Sign somebody in.

    Args:
        sessions: the books; transactions are made and ended here.
        attempt: what is offered, and from where.
        lifetime: of the token; one of the constants above.

    Raises:
        WrongCredentials: after a fixed time, or a multiple of it.
        SlowDown: at once.
        Busy: too many passwords wait to be verified; the attempt does not count.

    """
    clock = asyncio.get_running_loop()
    begun_at = clock.time()
    try:
        return await _sign_in(sessions, attempt, lifetime)
    except WrongCredentials:
        await asyncio.sleep(_wait_after(clock.time() - begun_at))
        raise


async def confirm(sessions: Sessions, attempt: Attempt) -> None:
    """Make sure that it is still the same person; counted like signing in, and gives no token.

    Raises:
        WrongCredentials, SlowDown, Busy: as for signing in, but at once.

    """
    begun = await _begin(sessions, attempt)
    if not (await _verify(sessions, begun, attempt.password)).ok:
        raise _wrong()
    async with sessions.begin() as session:
        await forgive(session, begun.counted)


async def sign_out(session: AsyncSession, secret: str) -> None:
    """End what `sign_in` gave; anything else is left alone. Works in the caller's transaction."""
    await end_token(session, secret)


@dataclass(frozen=True, slots=True)
class _Begun:
    """An attempt that was counted."""

    counted: Counted
    user_id: int
    stored: str | None
    """What the password is verified against; None where none is right."""


async def _sign_in(sessions: Sessions, attempt: Attempt, lifetime: timedelta) -> SignInResult:
    begun = await _begin(sessions, attempt)
    for _ in range(_LOOKS):
        verdict = await _verify(sessions, begun, attempt.password)
        if not verdict.ok:
            break
        async with sessions.begin() as session:
            user = await lock_user(session, begun.user_id)
            # What was verified must be what is stored: it may have been changed meanwhile, by
            # another who signed in at the same time and had the hash upgraded.
            if _stored(user) == begun.stored:
                await forgive(session, begun.counted)
                return await _admit(session, user, verdict, lifetime)
        begun = replace(begun, stored=_stored(user))
    raise _wrong()


def _wrong() -> WrongCredentials:
    return WrongCredentials("no user who may sign in has this e-mail and password")


def _wait_after(took_s: float) -> float:
    """How long a failure is kept back."""
    return -took_s % FAILURE_RESPONSE_AFTER_S


async def _begin(sessions: Sessions, attempt: Attempt) -> _Begun:
    """Count the attempt, and find what its password has to fit."""
    email = attempt.email.strip()
    if not email.isprintable() or len(email) > EMAIL_CHARS_MAX:
        # Nobody's, like the empty one; the database could not even look for it.
        email = ""
    try:
        async with sessions.begin() as session:
            counted = await count_attempt(session, email, attempt.address)
            user = await _find(session, email)
    except TooSoon as refusal:
        raise SlowDown(refusal.retry_after_s) from None
    if user is None:
        return _Begun(counted, user_id=0, stored=None)
    return _Begun(counted, user.id, _stored(user))


async def _find(session: AsyncSession, email: str) -> User | None:
    try:
        return await find_user(session, email)
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


async def _admit(
    session: AsyncSession, user: User, verdict: Verdict, lifetime: timedelta
) -> SignInResult:
    token, secret = await create_token(session, user.account.id, lifetime)
    user.last_sign_in_at = token.created_at
    user.password_hash = verdict.new_hash or user.password_hash
    await session.flush()
    return SignInResult(user, secret, cast("datetime", token.expires_at))
