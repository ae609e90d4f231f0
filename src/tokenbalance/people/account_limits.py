"""Limits of accounts and their time zones, which superusers set.

Works in the caller's transaction and never commits.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import select

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Account
from tokenbalance.model.limits import ACCOUNT
from tokenbalance.people.limit_rows import renew_versions, store_limits
from tokenbalance.people.limits import InvalidLimit, KeyLimits
from tokenbalance.people.rows import AccountRow, account_row
from tokenbalance.people.traces import record_account

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.limits import LimitChanges

TIME_ZONE: Final = "time_zone"
_NAME_CHARS_MAX: Final = 64
_OF_NO_PLACE: Final = frozenset({"Factory", "localtime"})
"""Names that Python finds on some machines, and that mean something else on each."""


class UnknownAccount(Exception):
    """No account has this id, or it is somebody else's."""

    def __init__(self, account_id: int) -> None:
        super().__init__(f"no account has the id {account_id}")


async def get_account(session: AsyncSession, account_id: int) -> AccountRow:
    """Return an account.

    Raises:
        UnknownAccount: no account has this id.

    """
    return account_row(await _account(session, account_id))


async def change_account_limits(
    session: AsyncSession,
    account_id: int,
    changes: LimitChanges,
    time_zone: str | None = None,
    *,
    actor: Actor,
) -> AccountRow:
    """Change limits of an account, and where its days begin. They bind its keys at once.

    With another time zone, windows that have begun end as they would have; the next are of the new.

    Args:
        session: the caller's transaction.
        account_id: which account.
        changes: the new values by name, None for no limit; the others stay.
        time_zone: its IANA name; None: stays as it is.
        actor: who changes it, to be recorded.

    Raises:
        UnknownAccount: no account has this id.
        InvalidLimit: the time zone is not known.

    """
    account = await _account(session, account_id, locked=True)
    before = account_row(account)
    limits = KeyLimits(**{**before.limits.values(), **changes})  # pyright: ignore[reportArgumentType] - of the types of both
    account.limits = limits.as_document()
    if time_zone is not None:
        account.time_zone = known_time_zone(time_zone)
    await session.flush()
    if changes:
        await store_limits(session, account_id, ACCOUNT, limits.as_document())
        await renew_versions(session, account_id)
    after = replace(before, limits=limits, time_zone=account.time_zone)
    record_account(session, actor, before, after)
    return after


def known_time_zone(name: str) -> str:
    """Return the name of a time zone.

    Raises:
        InvalidLimit: there is no such time zone.

    """
    if len(name) > _NAME_CHARS_MAX or name not in _time_zones():
        raise InvalidLimit(TIME_ZONE, "must be an IANA name such as 'Europe/Berlin' or 'UTC'")
    _ = ZoneInfo(name)
    return name


@lru_cache(1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _OF_NO_PLACE


async def _account(session: AsyncSession, account_id: int, *, locked: bool = False) -> Account:
    # The column cannot even be compared with a larger number.
    one = select(Account).where(Account.id == (account_id if 0 < account_id <= ID_MAX else 0))
    if locked:
        one = one.with_for_update(key_share=True)
    account = await session.scalar(one, execution_options={"populate_existing": True})
    if account is None:
        raise UnknownAccount(account_id)
    return account
