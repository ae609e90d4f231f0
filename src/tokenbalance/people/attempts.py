"""Limits on sign-in and sign-up attempts, by e-mail and by IP address.

Failed sign-ins count by both; sign-ups count by address, whether they succeed or not.

    recent count            the next attempt
    below the free ones     at once
    at or above them        after 1, 2, 4 ... 60 s; an earlier one is refused and not counted
    none for 15 minutes     the count is back to 0; it decreases gradually until then

The counts are in the database and use its clock, so that replicas share them. An attempt counts as
a failure from its start, so that concurrent attempts get no further than sequential ones. Works in
the caller's transaction and never commits.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from math import ceil
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import case, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.tables import SignInFailures

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

EMAIL_FREE: Final = 10
ADDRESS_FREE: Final = 100
"""More than for an e-mail: many people may share an address."""
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
    """The attempt is refused; the caller must roll its transaction back."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Count:
    """How an attempt was counted, for an e-mail or an address."""

    subject_sha256: bytes
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt that is allowed."""

    email: Count
    address: Count


async def count_attempt(session: AsyncSession, email: str, address: str) -> Counted:
    """Count an attempt to sign in, before its password is verified.

    Args:
        session: a transaction to commit at once: other attempts wait for it.
        email: the e-mail, known or not; text that Postgres can hold.
        address: the client's IP address; anything else counts as one address.

    Raises:
        TooSoon: the attempt comes too early.

    """
    # Always in this order, so that two attempts cannot deadlock.
    counted = Counted(
        await _count(session, _email_subject(email), EMAIL_FREE),
        await _count(session, literal(_address_subject(address)), ADDRESS_FREE),
    )
    if not secrets.randbelow(_SWEEP_EVERY):
        await _sweep(session)
    return counted


async def count_sign_up(session: AsyncSession, address: str) -> None:
    """Count an attempt to sign up, before it is known whether it succeeds.

    Args:
        session: a transaction to commit at once: other attempts wait for it.
        address: as for `count_attempt`.

    Raises:
        TooSoon: the attempt comes too early.

    """
    _ = await _count(session, literal(_address_subject(address, "sign-up")), SIGN_UPS_FREE)


async def forgive(session: AsyncSession, counted: Counted) -> None:
    """Forget the failures of an e-mail after a correct password, and take back the address's."""
    of_email = SignInFailures.subject_sha256 == counted.email.subject_sha256
    await session.execute(delete(SignInFailures).where(of_email))
    await _take_back(session, counted.address)


async def take_back(session: AsyncSession, counted: Counted) -> None:
    """Undo the count of an attempt whose password was not verified."""
    await _take_back(session, counted.email)
    await _take_back(session, counted.address)


async def _count(session: AsyncSession, subject: ColumnElement[bytes], free: int) -> Count:
    # Not now(), which is older than the row if this transaction waited for its lock.
    now = func.clock_timestamp()
    failures = SignInFailures.failures
    quiet_s = func.extract("epoch", now - SignInFailures.next_at)
    forgotten = func.floor(quiet_s * (free + _DOUBLINGS) / FORGOTTEN_AFTER.total_seconds())
    left = func.greatest(failures - forgotten, 0)
    count = func.least(left + 1, free + _DOUBLINGS)
    doubled_s = _FIRST_WAIT_S * func.power(2, count - free)
    wait_s = case((count >= free, func.least(doubled_s, WAIT_S_MAX)), else_=0)
    counting = (
        insert(SignInFailures)
        .values(subject_sha256=subject, failures=1, last_at=now, next_at=now)
        .on_conflict_do_update(
            index_elements=[SignInFailures.subject_sha256],
            set_={
                "failures": count,
                "last_at": now,
                "next_at": now + func.make_interval(0, 0, 0, 0, 0, 0, wait_s),
            },
            where=SignInFailures.next_at <= now,
        )
        .returning(SignInFailures.subject_sha256, SignInFailures.next_at)
    )
    row = (await session.execute(counting)).one_or_none()
    if row is None:
        raise TooSoon(await _wait_s(session, subject))
    return Count(*cast("tuple[bytes, datetime]", tuple(row)))


async def _wait_s(session: AsyncSession, subject: ColumnElement[bytes]) -> int:
    left = select(SignInFailures.next_at - func.clock_timestamp()).where(
        SignInFailures.subject_sha256 == subject
    )
    wait = await session.scalar(left) or timedelta()
    # In case the database's clock was set back.
    return min(max(ceil(wait.total_seconds()), 1), WAIT_S_MAX)


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
    # Lower case as the database sees it, as in finding users: other spellings count as the same.
    return func.sha256(func.convert_to(literal("e-mail ") + func.lower(email), "UTF8"))


def _address_subject(address: str, kind: str = "address") -> bytes:
    return sha256(f"{kind} {_network(address)}".encode()).digest()


def _network(address: str) -> str:
    try:
        ip = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((int(ip), _IPV6_NETWORK_BITS), strict=False))
