"""The ids of the ledger's rows of a period; no B-tree has their time.

Times follow ids, except by the length of a transaction, so that a binary search over ids works.
Requests that cost nothing before the ledger had rows for them have negative ids, a sequence of
their own, sorted by when the requests arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import BigInteger, DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import TextualSelect
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.books.reports.period import Period

_OUT_OF_ORDER: Final = timedelta(hours=1)
"""By how much a row may be older than the one before it, at most."""
_VOIDS_OUT_OF_ORDER: Final = timedelta(days=1)
"""The same for negative ids: as long as a request may take."""


def _search(bounds: str) -> TextualSelect:
    """Build the search, for several moments at once.

    Rows up to `low` are older than the moment, those after `high` are not.
    """
    return (
        text(f"""
SELECT found.low, found.high
  FROM unnest(:moments) WITH ORDINALITY each (moment, number), LATERAL (
WITH RECURSIVE search (low, high) AS (
    SELECT {bounds}
     UNION ALL
    SELECT CASE WHEN found.created_at < moment THEN found.id ELSE low END,
           CASE WHEN found.created_at < moment THEN high ELSE (low + high) >> 1 END
      FROM search
      LEFT JOIN LATERAL (SELECT id, created_at FROM ledger
                          WHERE id > (low + high) >> 1 AND id <= high
                          ORDER BY id LIMIT 1) found ON true
     WHERE high - low > 1
)
SELECT max(low) AS low, min(high) AS high FROM search) found
 ORDER BY number
""")  # noqa: S608 - constants of this module
        .bindparams(bindparam("moments", type_=ARRAY(DateTime(timezone=True))))
        .columns(low=BigInteger, high=BigInteger)
    )


_ALL: Final = _search("0::bigint, coalesce((SELECT max(id) FROM ledger), 0)")
_VOIDS: Final = _search("coalesce((SELECT min(id) FROM ledger), 0) - 1, -1::bigint")


@dataclass(frozen=True, slots=True)
class Ids:
    """A range of ids that contains all rows of a period, and others."""

    after: int
    """The first id is greater."""
    upto: int | None
    """The last id is at most this; None: no end."""


async def ids_of(session: AsyncSession, *periods: Period) -> list[Ids]:
    """Find the range of ids of each period; they are positive."""
    moments: list[datetime] = []
    for period in periods:
        moments += [period.start - _OUT_OF_ORDER] if period.since is not None else []
        moments += [period.end + _OUT_OF_ORDER] if period.until is not None else []
    found = iter(await _find(session, _ALL, moments))
    return [
        Ids(
            0 if period.since is None else next(found)[0],
            None if period.until is None else next(found)[1],
        )
        for period in periods
    ]


async def negative_ids_of(session: AsyncSession, period: Period) -> Ids:
    """Find the range of negative ids of a period."""
    moments = [period.start - _VOIDS_OUT_OF_ORDER, period.end + _VOIDS_OUT_OF_ORDER]
    (after, _), (_, upto) = await _find(session, _VOIDS, moments)
    return Ids(after, upto)


async def _find(
    session: AsyncSession, search: TextualSelect, moments: Sequence[datetime]
) -> list[tuple[int, int]]:
    if not moments:
        return []
    found = await session.execute(search, {"moments": moments})
    return [cast("tuple[int, int]", tuple(row)) for row in found]
