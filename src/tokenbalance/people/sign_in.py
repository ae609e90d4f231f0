"""Signing in with e-mail and password, and signing out.

A failure reveals nothing: content, work and time are the same whether the e-mail is unknown, the
user disabled, or the password wrong. Each attempt is counted before its password is verified and
taken back when the password was right. No transaction is open while a password is verified.

Who shows a browser's secret waits in a line of their own until it is found. If the user has not
signed in there, they wait again, with the strangers: a made-up secret costs little of a turn.

    SignInError
    |-- WrongCredentials
    |   `-- WrongPassword
    `-- SlowDown
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast

from tokenbalance.people.agents import describe_agent
from tokenbalance.people.attempts import (
    Counted,
    Origin,
    TooSoon,
    count_attempt,
    forget_failures,
    forgive,
    take_back,
)
from tokenbalance.people.emails import EMAIL_CHARS_MAX, normal_email
from tokenbalance.people.known_browsers import (
    find_browser,
    looks_like_secret,
    remember_browser,
)
from tokenbalance.people.limits import NO_LIMITS
from tokenbalance.people.passwords import Busy, Verdict, verify_password
from tokenbalance.people.rows import user_row
from tokenbalance.people.sign_in_lines import say_failed, say_locked_out, say_signed_in
from tokenbalance.people.sign_in_tokens import Device, create_token, end_token
from tokenbalance.people.traces import record_unlock
from tokenbalance.people.turns import Line, turn
from tokenbalance.people.users import UnknownUser, find_record, lock_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.database.tables import User
    from tokenbalance.model import Actor
    from tokenbalance.people.limits import KeyLimits
    from tokenbalance.people.rows import UserRow

T = TypeVar("T")

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


async def sign_in(
    sessions: Sessions, attempt: Attempt, way: Way, limits: KeyLimits = NO_LIMITS
) -> SignInResult:
    """Sign a user in.

    Args:
        sessions: the database; transactions are opened and committed here.
        attempt: e-mail, password, and where they come from.
        way: one of the constants above.
        limits: of the token, by which requests may be sent to models as well.

    Raises:
        WrongCredentials: after a fixed time, or a multiple of it.
        SlowDown: at once.
        Busy: too many wait, in all or at this address; the attempt does not count.

    """
    clock = asyncio.get_running_loop()
    begun_at = clock.time()
    try:
        return await _in_turn(sessions, attempt, partial(_sign_in, sessions, attempt, way, limits))
    except WrongCredentials:
        await asyncio.sleep(_wait_after(clock.time() - begun_at))
        raise


async def confirm(sessions: Sessions, attempt: Attempt) -> None:
    """Verify the password of a user who is signed in; counted like a sign-in, creates no token.

    Raises:
        WrongPassword, SlowDown, Busy: as `sign_in`, but at once.

    """
    await _in_turn(sessions, attempt, partial(_confirm, sessions, attempt))


async def sign_out(session: AsyncSession, secret: str) -> None:
    """End a token from `sign_in`; other secrets are ignored. Works in the caller's transaction."""
    await end_token(session, secret)


async def unlock(session: AsyncSession, email: str, *, actor: Actor) -> tuple[UserRow, int]:
    """Clear the failed sign-ins of an e-mail, so that its user need not wait.

    Works in the caller's transaction.

    Args:
        session: the transaction.
        email: the user's.
        actor: who does it, to be recorded.

    Returns:
        The user, and how many failures were forgotten.

    Raises:
        UnknownUser: no user has this address.

    """
    user = user_row(await find_record(session, email))
    failures = await forget_failures(session, user.email)
    record_unlock(session, actor, user, failures)
    return user, failures


@dataclass(frozen=True, slots=True)
class _Begun:
    """An attempt that was counted."""

    counted: Counted
    user_id: int
    stored: str | None
    """The hash to verify the password against; None if no password is right."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database knows of an attempt before it is counted."""

    email: str
    """Normalised; empty if it cannot be a user's."""
    user_id: int = 0
    """0 if the e-mail is unknown."""
    stored: str | None = None
    """As in `_Begun`."""
    browser_id: int | None = None
    """The browser, if the user has signed in there before."""


async def _in_turn(
    sessions: Sessions, attempt: Attempt, work: Callable[[_Found], Awaitable[T]]
) -> T:
    """Do the work when it is this attempt's turn."""
    if attempt.browser is not None and looks_like_secret(attempt.browser):
        async with turn(attempt.address, Line.BROWSERS):
            found = await _find(sessions, attempt)
            if found.browser_id is not None:
                return await work(found)
    async with turn(attempt.address):
        return await work(await _find(sessions, attempt))


async def _sign_in(
    sessions: Sessions, attempt: Attempt, way: Way, limits: KeyLimits, found: _Found
) -> SignInResult:
    begun = await _begin(sessions, attempt, found)
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
                return await _admit(session, user, attempt, way, limits)
        begun = replace(begun, stored=_stored(user))
    raise _wrong(begun, attempt)


def _wrong(begun: _Begun, attempt: Attempt) -> WrongCredentials:
    _say_failed(begun, attempt)
    return WrongCredentials("wrong e-mail or password")


def _say_failed(begun: _Begun, attempt: Attempt) -> None:
    say_failed(begun.user_id, attempt.address, has_hash=begun.stored is not None)


def _wait_after(took_s: float) -> float:
    """How long to delay a failure, in seconds."""
    return -took_s % FAILURE_RESPONSE_AFTER_S


async def _confirm(sessions: Sessions, attempt: Attempt, found: _Found) -> None:
    begun = await _begin(sessions, attempt, found)
    if not (await _verify(sessions, begun, attempt.password)).ok:
        _say_failed(begun, attempt)
        msg = "the current password is wrong"
        raise WrongPassword(msg)
    async with sessions.begin() as session:
        await forgive(session, begun.counted)


async def _find(sessions: Sessions, attempt: Attempt) -> _Found:
    """Find the user and the browser: as much work for an unknown e-mail as for a known one."""
    email = normal_email(attempt.email)
    if not email.isprintable() or len(email) > EMAIL_CHARS_MAX:
        # No user's, as the empty one; the database could not even search for it.
        email = ""
    async with sessions() as session:
        user = await _find_user(session, attempt.email if email else "")
        user_id = 0 if user is None else user.id
        stored = None if user is None else _stored(user)
        browser_id = await _find_browser(session, user_id, attempt.browser)
    return _Found(email, user_id, stored, browser_id)


async def _begin(sessions: Sessions, attempt: Attempt, found: _Found) -> _Begun:
    """Count the attempt."""
    origin = Origin(found.email, attempt.address, found.browser_id)
    try:
        counted = await count_attempt(sessions, origin)
    except TooSoon as refusal:
        say_locked_out(found.user_id, attempt.address)
        raise SlowDown(refusal.retry_after_s) from None
    return _Begun(counted, found.user_id, found.stored)


async def _find_browser(session: AsyncSession, user_id: int, secret: str | None) -> int | None:
    # Ours are ASCII; not all other text could be encoded for hashing.
    if secret is None or not secret.isascii():
        return None
    return await find_browser(session, user_id, secret)


async def _find_user(session: AsyncSession, email: str) -> User | None:
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


async def _admit(
    session: AsyncSession, user: User, attempt: Attempt, way: Way, limits: KeyLimits
) -> SignInResult:
    device = Device(way.via, describe_agent(attempt.user_agent), attempt.address)
    token, secret = await create_token(session, user.account.id, way.lifetime, device, limits)
    browser = None
    if way is BROWSER_SIGN_IN:
        browser = await remember_browser(session, user.id, attempt.browser)
    user.last_sign_in_at = token.created_at
    await session.flush()
    say_signed_in(session, user_row(user), token.id, attempt.address)
    return SignInResult(user_row(user), secret, cast("datetime", token.expires_at), browser)
