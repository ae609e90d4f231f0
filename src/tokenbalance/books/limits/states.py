"""The counts of limits at one moment, and the windows that they are counted in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from tokenbalance.books.limits.shown import in_order, is_over, state_of
from tokenbalance.books.limits.windows import window_at
from tokenbalance.database import statements
from tokenbalance.model.limits import COUNTED, WITHOUT_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokenbalance.database.connections import Pool
    from tokenbalance.model.limits import LimitState, Unit

_ATTEMPTS: Final = 3
"""To read counts while windows end."""
_NOT_BEGUN: Final = datetime.fromtimestamp(0, UTC)
"""The end of the window of a limit that has never had one."""


class _Row(NamedTuple):
    """A row of `limits`, with the time zone of its account and the moment of reading."""

    id: int
    subject: str
    name: str
    unit: Unit
    period: str
    amount: int
    used: int
    reserved: int
    taken_until: datetime
    """Of a rate: when all of it is available, or now."""
    window_end: datetime
    anchor: datetime | None
    created_at: datetime
    time_zone: str
    at: datetime


class Limits:
    """Reads counts and enters windows, on the request path's pool; raises what asyncpg raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def states(self, account_id: int, subjects: Sequence[str]) -> tuple[LimitState, ...]:
        """Read the counts of subjects, after entering every window that has begun.

        Returns:
            In one fixed order: the subjects as they are given, the limits of each as in `COUNTED`,
            then its budgets by name. All of them at the same moment.

        """
        rows = await self._read(account_id, subjects)
        for _ in range(_ATTEMPTS):
            over = [row for row in rows if is_over(row, row.at)]
            if not over:
                break
            for row in over:
                await self._enter(account_id, row)
            rows = await self._read(account_id, subjects)
        states = (state_of(row, row.time_zone, row.at) for row in rows)
        return tuple(in_order(states, subjects))

    async def open_end_user(
        self, account_id: int, subject: str, limits: Mapping[str, object]
    ) -> None:
        """Write the limits of an end user, unless they are written already.

        What has been taken from a limit stays taken. Call it before the first hold of a subject and
        whenever the limits of its key have a new version; no row means no limit.

        Args:
            account_id: who pays.
            subject: such as `end:` and a hash.
            limits: as a key has them; those that are not counted are left out.

        """
        names = [name for name in COUNTED if name in limits]
        units, periods = [COUNTED[name][0] for name in names], [COUNTED[name][1] for name in names]
        _ = await self._pool.execute(
            statements.OPEN_END_USER,
            account_id,
            subject,
            names,
            units,
            periods,
            [limits[name] for name in names],
            [None if period in WITHOUT_WINDOWS else _NOT_BEGUN for period in periods],
        )

    async def _read(self, account_id: int, subjects: Sequence[str]) -> list[_Row]:
        rows = await self._pool.fetch(statements.LIMITS, account_id, subjects)
        return [_Row._make(row) for row in rows]

    async def _enter(self, account_id: int, row: _Row) -> None:
        window = window_at(
            row.at, row.period, ZoneInfo(row.time_zone), row.anchor or row.created_at
        )
        _ = await self._pool.execute(
            statements.ENTER_WINDOW, account_id, row.id, row.window_end, *window
        )
