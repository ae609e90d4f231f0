"""Balances below which an account is told so, once until the balance is above them again.

Works in the caller's transaction and never commits. The alert itself is written by a trigger, in
the transaction that takes the balance below a threshold (migration 0021).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from tokenbalance.alerts.errors import InvalidThresholds
from tokenbalance.alerts.traces import record_change
from tokenbalance.database.tables import Account, AlertThreshold
from tokenbalance.model import JSON_INTEGER_MAX

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor

THRESHOLDS_MAX: Final = 10


async def thresholds_of(session: AsyncSession, account_id: int) -> list[int]:
    """Return the thresholds of an account in credits, the highest first."""
    query = select(AlertThreshold.below).where(AlertThreshold.account_id == account_id)
    return list(await session.scalars(query.order_by(AlertThreshold.below.desc())))


async def set_thresholds(
    session: AsyncSession, account_id: int, thresholds: Collection[int], actor: Actor
) -> list[int]:
    """Set the thresholds of an account in place of those it has; 1 is for an empty balance.

    A threshold that the balance is below already is told of when the balance has been above it.
    One that stays keeps whether it was told.

    Raises:
        InvalidThresholds: too many, or one is out of range.

    """
    wanted = sorted(set(thresholds))
    if len(wanted) > THRESHOLDS_MAX or not all(1 <= one <= JSON_INTEGER_MAX for one in wanted):
        msg = (
            f"the thresholds must be at most {THRESHOLDS_MAX} integers from 1 to"
            f" {JSON_INTEGER_MAX:,}"
        )
        raise InvalidThresholds(msg)
    # The lock of every change of the balance: none crosses a threshold meanwhile.
    locked = select(Account.balance).where(Account.id == account_id)
    balance = await session.scalar(locked.with_for_update(key_share=True)) or 0
    of_account = AlertThreshold.account_id == account_id
    _ = await session.execute(
        delete(AlertThreshold).where(of_account, AlertThreshold.below.not_in(wanted))
    )
    if wanted:
        rows = [
            {"account_id": account_id, "below": one, "is_armed": balance >= one} for one in wanted
        ]
        _ = await session.execute(insert(AlertThreshold).values(rows).on_conflict_do_nothing())
    armed = select(func.max(AlertThreshold.below)).where(of_account, AlertThreshold.is_armed)
    crossed = select(func.min(AlertThreshold.below)).where(of_account, ~AlertThreshold.is_armed)
    _ = await session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(alert_below=armed.scalar_subquery(), alert_rearm_at=crossed.scalar_subquery()),
        execution_options={"synchronize_session": False},
    )
    await record_change(session, actor, "alert.thresholds_set", account_id, below=[*wanted[::-1]])
    return wanted[::-1]
