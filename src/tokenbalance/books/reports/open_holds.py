"""The open holds of all processes, and whether anybody sweeps up those of dead ones.

Reads on the request path's pool, so that it shows what requests meet. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database.connections import SWEEP_NAME

if TYPE_CHECKING:
    from datetime import datetime

    from tokenbalance.database.connections import Pool

_OPEN_HOLDS: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = $1) AS sweepers,
       count(*) AS number, coalesce(sum(amount), 0)::text AS credits, min(created_at) AS oldest,
       count(*) FILTER (WHERE lease_until < clock_timestamp()) AS lapsed
  FROM open_holds
 WHERE amount > 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHolds:
    """The open holds at one moment."""

    number: int
    credits: int
    """Their sum."""
    oldest: datetime | None
    """When the oldest was placed; None if there are no open holds."""
    lapsed: int
    """Those whose lease has ended: their process is gone, and the next sweep ends them."""
    sweepers: int
    """Processes that sweep."""


async def open_holds(pool: Pool) -> OpenHolds:
    """Read the open holds of all processes."""
    (row,) = await pool.fetch(_OPEN_HOLDS, SWEEP_NAME)
    return OpenHolds(
        number=cast("int", row["number"]),
        credits=int(cast("str", row["credits"])),
        oldest=cast("datetime | None", row["oldest"]),
        lapsed=cast("int", row["lapsed"]),
        sweepers=cast("int", row["sweepers"]),
    )
