"""Limits as the books count them: rows of their own, and a version for every key that they bind.

Works in the caller's transaction and never commits. Must never change what has been taken.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, and_, delete, func, or_, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.database.tables import Account, ApiKey, Limit, Membership, Project
from tokenbalance.model.limits import (
    ACCOUNT,
    COUNTED,
    KEY,
    MEMBER,
    PROJECT,
    WITHOUT_WINDOWS,
    subject_of_key,
)
from tokenbalance.people.limits import KeyLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncSession

BUDGET: Final = "budget:"
"""How the name of a budget begins; every other name is that of a limit in `COUNTED`."""
NOT_BEGUN: Final = datetime.fromtimestamp(0, UTC)
"""The end of the window of a limit that has never had one: the first hold enters a window."""


async def store_limits(
    session: AsyncSession, account_id: int, subject: str, limits: Mapping[str, object]
) -> None:
    """Write the counted limits of a subject; its budgets stay as they are.

    What has been taken from a limit stays taken while the limit exists. Those that are no longer
    set are removed. Follow it with `renew_versions`, once the limits themselves are stored.

    Args:
        session: the caller's transaction.
        account_id: the account that pays.
        subject: whose limits.
        limits: all limits that are set, by the names of the API.

    """
    await lock_counts(session, account_id)
    of_subject = and_(Limit.account_id == account_id, Limit.subject == subject)
    counted = [name for name in COUNTED if name in limits]
    _ = await session.execute(
        delete(Limit).where(of_subject, ~Limit.name.startswith(BUDGET), Limit.name.not_in(counted))
    )
    await add_limits(session, [(account_id, subject, limits)])


async def add_limits(
    session: AsyncSession, subjects: Sequence[tuple[int, str, Mapping[str, object]]]
) -> None:
    """Write the counted limits of many subjects, in two statements; removes none.

    Args:
        session: the caller's transaction; the accounts are locked, or made in it.
        subjects: the account that pays, whose limits, and all limits that are set.

    """
    rows: list[dict[str, object]] = []
    for account_id, subject, limits in subjects:
        for name, (unit, period) in COUNTED.items():
            if name in limits:
                row = {"account_id": account_id, "subject": subject, "name": name}
                rows.append({**row, "unit": unit, "period": period, "amount": limits[name]})
    new = insert(Limit)
    once = new.on_conflict_do_update(
        index_elements=[Limit.account_id, Limit.subject, Limit.name],
        set_={"amount": new.excluded.amount},
    )
    for windowed in (False, True):
        some = [row for row in rows if (row["period"] not in WITHOUT_WINDOWS) is windowed]
        if windowed:
            some = [{**row, "window_end": NOT_BEGUN} for row in some]
        if some:
            _ = await session.execute(once, some)


async def bind_key(session: AsyncSession, key: ApiKey) -> None:
    """Let the limits that are stored with a key, and those of its account, bind it from now on.

    The key must have been written, in this transaction. Locks the account: whoever limits it at
    that moment either finds the key, or is found here.
    """
    subject = subject_of_key(key.id)
    limits = KeyLimits.stored(key.limits).as_document()
    await store_limits(session, key.account_id, subject, limits)
    await renew_versions(session, key.account_id, key.id)


async def renew_versions(session: AsyncSession, account_id: int, key_id: int | None = None) -> None:
    """Name a new version of what limits a key, or every key of an account; 0 where nothing does."""
    of_account = select(Account.limits).where(Account.id == account_id).scalar_subquery()
    subjects = (
        Limit.subject == ACCOUNT,
        Limit.subject == func.concat(KEY, ApiKey.id),
        and_(ApiKey.user_id.is_not(None), Limit.subject == func.concat(MEMBER, ApiKey.user_id)),
        and_(
            ApiKey.project_id.is_not(None), Limit.subject == func.concat(PROJECT, ApiKey.project_id)
        ),
    )
    has_rows = select(Limit.id).where(Limit.account_id == account_id, or_(*subjects)).exists()
    of_member = (
        select(Membership.user_id)
        .where(
            Membership.account_id == account_id,
            Membership.user_id == ApiKey.user_id,
            Membership.limits != {},
        )
        .exists()
    )
    of_project = (
        select(Project.id)
        .where(
            Project.account_id == account_id,
            Project.id == ApiKey.project_id,
            Project.limits != {},
        )
        .exists()
    )
    is_limited = or_(
        ApiKey.limits != {},
        of_account != {},
        has_rows,
        ApiKey.sub_account_from.is_not(None),
        of_member,
        of_project,
    )
    for limited, version in ((is_limited, _new_version()), (~is_limited, 0)):
        change = update(ApiKey).where(ApiKey.account_id == account_id, limited)
        if key_id is not None:
            change = change.where(ApiKey.id == key_id)
        _ = await session.execute(
            change.values(limits_version=version), execution_options={"synchronize_session": False}
        )


async def name_versions(session: AsyncSession, account_ids: Sequence[int]) -> None:
    """Name a new version of what limits the keys of new accounts, all of which something limits."""
    _ = await session.execute(
        update(ApiKey)
        .where(ApiKey.account_id.in_(account_ids))
        .values(limits_version=_new_version()),
        execution_options={"synchronize_session": False},
    )


def _new_version() -> ColumnElement[int]:
    return sql_cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)


async def forget_counts(session: AsyncSession, account_id: int, keys: Select[int]) -> None:
    """Remove the counted limits of keys that have ended. The account must be locked."""
    subjects = select(func.concat(KEY, keys.subquery().c.id))
    _ = await session.execute(
        delete(Limit).where(Limit.account_id == account_id, Limit.subject.in_(subjects)),
        execution_options={"synchronize_session": False},
    )


async def lock_counts(session: AsyncSession, account_id: int) -> None:
    """Lock the account: its counts, and who belongs to it, change only while it is locked."""
    one = select(Account.id).where(Account.id == account_id)
    _ = await session.execute(one.with_for_update(key_share=True))
