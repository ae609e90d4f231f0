"""The ids of the ledger entries of a period; entries have no index on their time.

Times follow ids, except by the length of a transaction, so that a binary search over ids works.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import BigInteger, DateTime, bindparam, text

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.reports.period import Period

_OUT_OF_ORDER: Final = timedelta(hours=1)
"""By how much an entry may be older than the one before it, at most."""

# Entries up to `low` are older than the moment, those after `high` are not.
_SEARCH: Final = (
    text("""
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, coalesce(max(id), 0) FROM ledger_entries
     UNION ALL
    SELECT CASE WHEN found.created_at < :moment THEN found.id ELSE low END,
           CASE WHEN found.created_at < :moment THEN high ELSE (low + high) / 2 END
      FROM search
      LEFT JOIN LATERAL (SELECT id, created_at FROM ledger_entries
                          WHERE id > (low + high) / 2 AND id <= high
                          ORDER BY id LIMIT 1) found ON true
     WHERE high - low > 1
)
SELECT max(low) AS low, min(high) AS high FROM search
""")
    .bindparams(bindparam("moment", type_=DateTime(timezone=True)))
    .columns(low=BigInteger, high=BigInteger)
)


@dataclass(frozen=True, slots=True)
class Ids:
    """A range of ids that contains all entries of a period, and others."""

    after: int
    """The first id is greater."""
    upto: int | None
    """The last id is at most this; None: no end."""


async def ids_of(session: AsyncSession, period: Period) -> Ids:
    """Find the range of ids of a period."""
    after, upto = 0, None
    if period.since is not None:
        after = (await _search(session, period.start - _OUT_OF_ORDER))[0]
    if period.until is not None:
        upto = (await _search(session, period.end + _OUT_OF_ORDER))[1]
    return Ids(after, upto)


async def _search(session: AsyncSession, moment: datetime) -> tuple[int, int]:
    bounds = (await session.execute(_SEARCH, {"moment": moment})).one()
    return cast("tuple[int, int]", tuple(bounds))
