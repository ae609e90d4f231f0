"""What is left of limits at one moment, to be shown. Takes nothing and enters no window."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from sqlalchemy import func, select

from tokenbalance.books.limits.shown import in_order, state_of
from tokenbalance.database.tables import Account, Limit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.limits.shown import Row
    from tokenbalance.model.limits import LimitState

    _Found: TypeAlias = tuple[Row, str, datetime]


async def limit_states(
    session: AsyncSession, account_id: int, subjects: Sequence[str]
) -> Sequence[LimitState]:
    """Read the counts of subjects; a window that has ended is empty.

    Returns:
        In the order of the subjects; of each its limits as in `COUNTED`, then its budgets by name.

    """
    query = (
        select(Limit, Account.time_zone, func.statement_timestamp())
        .join(Account, Account.id == Limit.account_id)
        .where(Limit.account_id == account_id, Limit.subject.in_(subjects))
    )
    found = (await session.execute(query)).all()
    states = (state_of(*cast("_Found", tuple(row))) for row in found)
    return in_order(states, subjects)
