"""What is left of limits at one moment, to be shown. Takes nothing and enters no window."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from tokenbalance.books.limits.windows import window_at
from tokenbalance.database.tables import Account, Limit
from tokenbalance.model.limits import COUNTED, MINUTE, WITHOUT_WINDOWS, LimitState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model.limits import Unit

    _Found: TypeAlias = tuple[Limit, str, datetime]

_MINUTE: Final = timedelta(minutes=1)
_ORDER: Final = tuple(COUNTED)


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
    states = [_state(*cast("_Found", tuple(row))) for row in found]
    return sorted(states, key=lambda state: (subjects.index(state.subject), *_place(state.name)))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in COUNTED else len(_ORDER), name)


def _state(limit: Limit, time_zone: str, now: datetime) -> LimitState:
    used, reserved, resets_at = limit.used, limit.reserved, None
    if limit.period == MINUTE:
        used = 0
        # An infinite time comes without a zone: nothing has ever been taken.
        if limit.taken_until.tzinfo is not None and limit.taken_until > now:
            resets_at = limit.taken_until
            used = -((now - resets_at) * limit.amount // _MINUTE)
    elif limit.period not in WITHOUT_WINDOWS:
        resets_at = limit.window_end
        if resets_at <= now:
            used, reserved = 0, 0
            resets_at = window_at(
                now, limit.period, ZoneInfo(time_zone), limit.anchor or limit.created_at
            ).end
    return LimitState(
        subject=limit.subject,
        name=limit.name,
        unit=cast("Unit", limit.unit),
        period=limit.period,
        amount=limit.amount,
        used=used,
        reserved=reserved,
        resets_at=resets_at,
        at=now,
    )
