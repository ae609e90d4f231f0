"""The health of the books: whether they are proved right, and whether this process can go on.

Only reads. The proof reads every entry and every request, so that of one process one runs at a
time; who asks meanwhile is told so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import SWEEP_NAME
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.books.ledger.audit import AuditReport
    from tokenbalance.database.connections import Pool
    from tokenbalance.web.panel.visit import Visit

_VERIFYING: Final = asyncio.Lock()

_STATE: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = $1) AS sweepers,
       count(*) AS open, coalesce(sum(amount), 0)::text AS credits, min(created_at) AS oldest,
       count(*) FILTER (WHERE lease_until < clock_timestamp()) AS lapsed
  FROM holds
 WHERE state = 'open'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What goes on in the books."""

    journal_ready: bool
    """Whether this process can write down what it has to end."""
    in_progress: int
    """Requests in this process's care."""
    sweepers: int
    """Processes that end the holds of those that are gone."""
    open_holds: int
    open_credits: int
    oldest_open: datetime | None
    lapsed: int
    """Open holds that nobody answers for any more; the next sweep ends them."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A proof, when it was made and how long it took."""

    report: AuditReport
    at: datetime
    took_ms: int


async def show(visit: Visit) -> Response:
    """Show how the books are, and prove it where that is asked for."""
    state = await _state(visit)
    wanted = query_form(visit.request).flag("verify")
    busy = wanted and _VERIFYING.locked()
    verified = await _verify(visit.management.pool) if wanted and not busy else None
    return render(visit, "admin/books.html", state=state, verified=verified, busy=busy)


async def _verify(pool: Pool) -> Verified:
    async with _VERIFYING:
        begun = monotonic()
        report = await audit(pool)
        return Verified(report, datetime.now(UTC), round((monotonic() - begun) * 1000))


async def _state(visit: Visit) -> State:
    leases = cast("Leases", visit.request.state.leases)
    (row,) = await visit.management.pool.fetch(_STATE, SWEEP_NAME)
    return State(
        journal_ready=leases.ready,
        in_progress=len(leases),
        sweepers=cast("int", row["sweepers"]),
        open_holds=cast("int", row["open"]),
        open_credits=int(cast("str", row["credits"])),
        oldest_open=cast("datetime | None", row["oldest"]),
        lapsed=cast("int", row["lapsed"]),
    )


ROUTES: Final = (route("/books", get=show),)
