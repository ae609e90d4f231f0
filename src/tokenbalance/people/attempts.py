"""How often signing in, and signing up, may be tried: counted by e-mail and by address.

Of signing in the failures count, by both; of signing up whatever comes of it, by address.

    counted of late         the next attempt
    fewer than are free     at once
    as many, and more       in 1, 2, 4 ... 60 s; who comes earlier is refused and not counted
    none for 15 minutes     all is forgotten, little by little until then

The counts are kept in the database, by its clock, so that replicas share them. An attempt counts
as a failure from its beginning: of many at once no more get through than one after the other.
Works in the caller's transaction and never commits.
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
"""More than of an e-mail: many people may share one."""
SIGN_UPS_FREE: Final = 20
"""Users that strangers make from one address: a class may sign up in one room."""
_FIRST_WAIT_S: Final = 1
WAIT_S_MAX: Final = 60
FORGOTTEN_AFTER: Final = timedelta(minutes=15)
_DOUBLINGS: Final = 6
"""Until the first wait is longer than the longest; failures beyond count for nothing."""
_SWEEP_EVERY: Final = 50
"""Attempts, about."""
_SWEEP_ROWS_MAX: Final = 1000
_IPV6_NETWORK_BITS: Final = 64
"""What one subscriber has at least, and may choose any address of."""


class TooSoon(Exception):
    """The attempt must not be looked at; the caller's transaction is to be rolled back."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"the next attempt may be made in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Count:
    """How an attempt was counted for one of those that it counts for."""

    subject_sha256: bytes
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """An attempt that may be looked at."""

    email: Count
    address: Count


async def count_attempt(session: AsyncSession, email: str, address: str) -> Counted:
    """Count an attempt before it is looked at.

    Args:
        session: a transaction to be committed at once: until then others wait for it.
        email: whose, known or not; text that Postgres can hold.
        address: from where: an IP address; anything else is one place.

    Raises:
        TooSoon: it may not be made yet.

    """
    # Always in this order, so that no two attempts wait for each other.
    counted = Counted(
        await _count(session, _email_subject(email), EMAIL_FREE),
        await _count(session, literal(_address_subject(address)), ADDRESS_FREE),
    )
    if not secrets.randbelow(_SWEEP_EVERY):
        await _sweep(session)
    return counted


async def count_sign_up(session: AsyncSession, address: str) -> None:
    """Count that a stranger makes a user, before it is known whether that can be.

    Args:
        session: a transaction to be committed at once: until then others wait for it.
        address: from where, as of signing in.

    Raises:
        TooSoon: it may not be tried yet.

    """
    _ = await _count(session, literal(_address_subject(address, "sign-up")), SIGN_UPS_FREE)


async def forgive(session: AsyncSession, counted: Counted) -> None:
    """Forget the failures of an e-mail whose password was right, and this attempt's address."""
    of_email = SignInFailures.subject_sha256 == counted.email.subject_sha256
    await session.execute(delete(SignInFailures).where(of_email))
    await _take_back(session, counted.address)


async def take_back(session: AsyncSession, counted: Counted) -> None:
    """Make an attempt that was not looked at not have been."""
    await _take_back(session, counted.email)
    await _take_back(session, counted.address)


async def _count(session: AsyncSession, subject: ColumnElement[bytes], free: int) -> Count:
    # Not now(): whoever waited for the row must see its times as past.
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
    # The database's clock may have been set back.
    return min(max(ceil(wait.total_seconds()), 1), WAIT_S_MAX)


async def _take_back(session: AsyncSession, count: Count) -> None:
    """Lower a count by one. The wait that it began ends, unless another attempt began a new one."""
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
    """Remove some of what is forgotten. The last step: no lock is asked for while it holds some."""
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
    # The database's idea of lower case is what users are found by: no spelling counts anew.
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
