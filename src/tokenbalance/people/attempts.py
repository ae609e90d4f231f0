"""Limits on sign-in and sign-up attempts.

Failed sign-ins count for an e-mail from one address, for the address, and for the e-mail from
everywhere; those in a browser where the user has signed in before only for that browser. Sign-ups
count by address, whether they succeed or not.

    recent count            the next attempt
    below the free ones     at once
    at or above them        after 1, 2, 4 ... 60 s; an earlier one is refused and not counted
    none for 15 minutes     the count is back to 0; it decreases gradually until then

Turns are never shared between strangers: if they were, whoever asks all the time would always be
first. So the count of an e-mail from everywhere has no turns of its own. It only makes each address
wait, from its own first or latest attempt, and what other addresses do cannot prolong that.

The counts are in the database and use its clock, so that replicas share them. An attempt counts as
a failure from its start, so that concurrent attempts get no further than sequential ones.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import case, delete, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.tables import SignInFailures

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, SQLColumnExpression
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions

PAIR_FREE: Final = 10
"""Of an e-mail from one address."""
BROWSER_FREE: Final = 10
"""In a known browser, so that its cookie is of little use to whoever steals it."""
ADDRESS_FREE: Final = 100
"""More than for one e-mail: many people may share an address."""
EMAIL_FREE: Final = 200
"""Of an e-mail from everywhere: the free ones of twenty addresses, far more than a person with
several devices has, and few of the passwords that people choose."""
SIGN_UPS_FREE: Final = 20
"""Sign-ups from one address: a class may sign up in one room."""
_FIRST_WAIT_S: Final = 1
WAIT_S_MAX: Final = 60
FORGOTTEN_AFTER: Final = timedelta(minutes=15)
_DOUBLINGS: Final = 6
"""Until the wait reaches the maximum; failures beyond that do not count."""
_SWEEP_EVERY: Final = 50
"""Attempts, on average."""
_SWEEP_ROWS_MAX: Final = 1000
_IPV6_NETWORK_BITS: Final = 64
"""The smallest network of one subscriber, who may use any address of it."""


class TooSoon(Exception):
    """The attempt is refused; the transaction that counted it must be rolled back."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class _FirstComeLater(TooSoon):
    """The address must rest, and its rest has not begun."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who attempts to sign in, as far as it is known before the password is verified."""

    email: str
    """Normalised, known or not; text that Postgres can hold."""
    address: str
    """The client's IP address; anything else counts as one address."""
    browser_id: int | None = None
    """The browser, if the user has signed in there before."""


@dataclass(frozen=True, slots=True)
class Count:
    """How an attempt was counted, for one subject."""

    subject_sha256: bytes
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt that is allowed."""

    own: Count
    """Of the e-mail from this address, or of the known browser."""
    shared: tuple[Count, ...]
    """Of the e-mail and of the address, where others count as well."""


async def count_attempt(sessions: Sessions, origin: Origin) -> Counted:
    """Count an attempt to sign in, before its password is verified.

    Raises:
        TooSoon: the attempt comes too early.

    """
    try:
        async with sessions.begin() as session:
            counted = await _count_origin(session, origin)
            if not secrets.randbelow(_SWEEP_EVERY):
                await _sweep(session)
            return counted
    except _FirstComeLater as refusal:
        async with sessions.begin() as session:
            await _note_arrival(session, origin)
        raise TooSoon(refusal.retry_after_s) from None


async def count_sign_up(session: AsyncSession, address: str) -> None:
    """Count an attempt to sign up, before it is known whether it succeeds.

    Args:
        session: a transaction to commit at once: other attempts wait for it.
        address: as for `Origin`.

    Raises:
        TooSoon: the attempt comes too early.

    """
    _ = await _count(session, literal(_address_subject(address, "sign-up")), SIGN_UPS_FREE)


async def count_link(session: AsyncSession, address: str) -> Counted:
    """Count an attempt to use a link with a secret; `take_back` once it is known to be a right one.

    Args:
        session: a transaction to commit at once: other attempts wait for it.
        address: as for `Origin`.

    Raises:
        TooSoon: the attempt comes too early.

    """
    subject = literal(_address_subject(address, "welcome"))
    return Counted(await _count(session, subject, ADDRESS_FREE), ())


async def forgive(session: AsyncSession, counted: Counted) -> None:
    """Forget a subject's own failures after a correct password; take this attempt back elsewhere.

    Works in the caller's transaction, as the functions below.
    """
    for count in counted.shared:
        await _take_back(session, count)
    own = SignInFailures.subject_sha256 == counted.own.subject_sha256
    await session.execute(delete(SignInFailures).where(own))


async def take_back(session: AsyncSession, counted: Counted) -> None:
    """Undo the count of an attempt whose password was not verified."""
    for count in (*counted.shared, counted.own):
        await _take_back(session, count)


async def forget_failures(session: AsyncSession, email: str) -> int:
    """Forget the failures of an e-mail: from everywhere, from each address, and of known browsers.

    Those of addresses alone stay. Returns the number of failures forgotten.
    """
    subject = _email_subject(email)
    forgotten = 0
    # First the row that every attempt locks first, so that no attempt can deadlock with this.
    for rows in (SignInFailures.subject_sha256 == subject, SignInFailures.email_sha256 == subject):
        deleted = await session.scalars(
            delete(SignInFailures).where(rows).returning(SignInFailures.failures)
        )
        # Those of an address count for the e-mail as well.
        forgotten = max(forgotten, sum(deleted))
    return forgotten


async def _count_origin(session: AsyncSession, origin: Origin) -> Counted:
    email = _email_subject(origin.email)
    if origin.browser_id is not None:
        browser = literal(_subject(f"browser {origin.browser_id}"))
        return Counted(await _count(session, browser, BROWSER_FREE, email_sha256=email), ())
    # Always in this order, so that two attempts cannot deadlock.
    everywhere, rest_s = await _count_everywhere(session, email)
    address = await _count(session, literal(_address_subject(origin.address)), ADDRESS_FREE)
    pair = _pair_subject(origin)
    own = await _count(session, pair, PAIR_FREE, email_sha256=email, rest_s=rest_s)
    return Counted(own, (everywhere, address))


async def _count_everywhere(
    session: AsyncSession, email: ColumnElement[bytes]
) -> tuple[Count, float]:
    """Count for an e-mail; returns how long each address has to rest before an attempt, in s."""
    now = func.clock_timestamp()
    # The last free one is not told from those before it: only the next one has to rest.
    free = EMAIL_FREE + 1
    counting = (
        insert(SignInFailures)
        .values(subject_sha256=email, email_sha256=email, failures=1, last_at=now, next_at=now)
        .on_conflict_do_update(
            index_elements=[SignInFailures.subject_sha256],
            set_={"failures": _raised(free), "last_at": now, "next_at": now},
        )
        .returning(
            SignInFailures.subject_sha256,
            SignInFailures.next_at,
            _wait_of(SignInFailures.failures, free),
        )
    )
    subject, next_at, rest_s = (await session.execute(counting)).one()
    return Count(subject, next_at), float(rest_s)


async def _count(
    session: AsyncSession,
    subject: ColumnElement[bytes],
    free: int,
    *,
    email_sha256: ColumnElement[bytes] | None = None,
    rest_s: float = 0,
) -> Count:
    """Count for a subject whose turn it is, and which has rested for so long since its last one."""
    # Not now(), which is older than the row if this transaction waited for its lock.
    now = func.clock_timestamp()
    wait_s = _wait_of(_raised(free), free)
    changes = {
        "failures": _raised(free),
        "last_at": now,
        "next_at": now + func.make_interval(0, 0, 0, 0, 0, 0, wait_s),
    }
    ready_in = _ready_at(rest_s) - now
    # Nobody waits for longer, not even when the database's clock was set back.
    is_ready = or_(ready_in <= timedelta(), ready_in > timedelta(seconds=WAIT_S_MAX))
    found = SignInFailures.subject_sha256, SignInFailures.next_at
    if rest_s:
        counting = (
            update(SignInFailures)
            .where(SignInFailures.subject_sha256 == subject, is_ready)
            .values(changes)
            .returning(*found)
        )
    else:
        counting = (
            insert(SignInFailures)
            .values(
                subject_sha256=subject,
                email_sha256=null() if email_sha256 is None else email_sha256,
                failures=1,
                last_at=now,
                next_at=now,
            )
            .on_conflict_do_update(
                index_elements=[SignInFailures.subject_sha256], set_=changes, where=is_ready
            )
            .returning(*found)
        )
    row = (await session.execute(counting)).one_or_none()
    if row is None:
        raise await _refusal(session, subject, rest_s)
    return Count(*cast("tuple[bytes, datetime]", tuple(row)))


async def _refusal(session: AsyncSession, subject: ColumnElement[bytes], rest_s: float) -> TooSoon:
    left = select(_ready_at(rest_s) - func.clock_timestamp()).where(
        SignInFailures.subject_sha256 == subject
    )
    wait = await session.scalar(left)
    if wait is None and rest_s:
        return _FirstComeLater(ceil(rest_s))
    return TooSoon(min(max(ceil((wait or timedelta()).total_seconds()), 1), WAIT_S_MAX))


async def _note_arrival(session: AsyncSession, origin: Origin) -> None:
    """Let an address's rest begin. An arrival that was noted before is not changed."""
    now = func.clock_timestamp()
    await session.execute(
        insert(SignInFailures)
        .values(
            subject_sha256=_pair_subject(origin),
            email_sha256=_email_subject(origin.email),
            failures=0,
            last_at=now,
            next_at=now,
        )
        .on_conflict_do_nothing()
    )


def _raised(free: int) -> ColumnElement[int]:
    """The count of a row after one more failure."""
    quiet_s = func.extract("epoch", func.clock_timestamp() - SignInFailures.next_at)
    forgotten = func.floor(quiet_s * (free + _DOUBLINGS) / FORGOTTEN_AFTER.total_seconds())
    left = func.greatest(SignInFailures.failures - func.greatest(forgotten, 0), 0)
    return func.least(left + 1, free + _DOUBLINGS)


def _wait_of(count: SQLColumnExpression[int], free: int) -> ColumnElement[float]:
    """The wait after a failure that raised the count to this, in seconds."""
    doubled_s = _FIRST_WAIT_S * func.power(2, count - free)
    return case((count >= free, func.least(doubled_s, WAIT_S_MAX)), else_=0)


def _ready_at(rest_s: float) -> ColumnElement[datetime]:
    rested_at = SignInFailures.last_at + timedelta(seconds=rest_s)
    return func.greatest(SignInFailures.next_at, rested_at)


async def _take_back(session: AsyncSession, count: Count) -> None:
    """Lower a count by one. The wait it started ends, unless another attempt started a new one."""
    next_at = SignInFailures.next_at
    await session.execute(
        update(SignInFailures)
        .where(SignInFailures.subject_sha256 == count.subject_sha256)
        .values(
            failures=func.greatest(SignInFailures.failures - 1, 0),
            next_at=case((next_at == count.next_at, SignInFailures.last_at), else_=next_at),
        )
    )


async def _sweep(session: AsyncSession) -> None:
    """Delete some expired counts. Must be the last step: it holds row locks."""
    old = (
        select(SignInFailures.subject_sha256)
        .where(SignInFailures.next_at < func.clock_timestamp() - FORGOTTEN_AFTER)
        .limit(_SWEEP_ROWS_MAX)
        .with_for_update(skip_locked=True)
    )
    await session.execute(
        delete(SignInFailures).where(SignInFailures.subject_sha256.in_(old.scalar_subquery()))
    )


def _email_subject(email: str) -> ColumnElement[bytes]:
    return _email_hash("e-mail ", email)


def _pair_subject(origin: Origin) -> ColumnElement[bytes]:
    return _email_hash(f"pair {network_of(origin.address)} ", origin.email)


def _email_hash(kind: str, email: str) -> ColumnElement[bytes]:
    # Lower case as the database sees it, as in finding users: other spellings count as the same.
    return func.sha256(func.convert_to(literal(kind) + func.lower(email), "UTF8"))


def _address_subject(address: str, kind: str = "address") -> bytes:
    return _subject(f"{kind} {network_of(address)}")


def _subject(text: str) -> bytes:
    return sha256(text.encode()).digest()


def network_of(address: str) -> str:
    """Return the smallest network that a client's address is known to share, as a word."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((int(ip), _IPV6_NETWORK_BITS), strict=False))
