"""What is left of limits at one moment, to be shown. Takes nothing and enters no window."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import and_, func, select

from tokenbalance.database.tables import Limit
from tokenbalance.model.limits import COUNTED, MINUTE, WITHOUT_WINDOWS, LimitState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model.limits import Unit

_MINUTE: Final = timedelta(minutes=1)
_ORDER: Final = tuple(COUNTED)


async def limit_states(
    session: AsyncSession, account_id: int, subjects: Sequence[str]
) -> Sequence[LimitState]:
    """Read the counts of subjects; a window that has ended is empty.

    Returns:
        In the order of the subjects; of each its limits as in `COUNTED`, then its budgets by name.

    """
    now = func.statement_timestamp()
    is_open = and_(Limit.window_start <= now, Limit.window_end > now)
    query = select(Limit, is_open, now).where(
        Limit.account_id == account_id, Limit.subject.in_(subjects)
    )
    found = (await session.execute(query)).all()
    states = [_state(*row) for row in found]
    return sorted(states, key=lambda state: (subjects.index(state.subject), *_place(state.name)))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in COUNTED else len(_ORDER), name)


def _state(limit: Limit, is_open: bool, now: datetime) -> LimitState:  # noqa: FBT001 - a row
    used, reserved, resets_at = limit.used, limit.reserved, None
    if limit.period == MINUTE:
        used = 0
        # An infinite time comes without a zone: nothing has ever been taken.
        if limit.taken_until.tzinfo is not None and limit.taken_until > now:
            resets_at = limit.taken_until
            used = -((now - resets_at) * limit.amount // _MINUTE)
    elif limit.period not in WITHOUT_WINDOWS:
        used, reserved = (used, reserved) if is_open else (0, 0)
        resets_at = limit.window_end if is_open else None
    return LimitState(
        subject=limit.subject,
        name=limit.name,
        unit=cast("Unit", limit.unit),
        period=limit.period,
        amount=limit.amount,
        used=used,
        reserved=reserved,
        resets_at=resets_at,
    )
