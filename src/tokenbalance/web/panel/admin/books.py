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
from tokenbalance.books.reports import open_holds
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.books.ledger.audit import AuditReport
    from tokenbalance.books.reports import OpenHolds
    from tokenbalance.database.connections import Pool
    from tokenbalance.web.panel.visit import Visit

_VERIFYING: Final = asyncio.Lock()


@dataclass(frozen=True, slots=True)
class State:
    """What goes on in the books."""

    journal_ready: bool
    """Whether this process can begin requests: its journal can be written."""
    in_flight: int
    """Requests of this process."""
    holds: OpenHolds


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
    return State(leases.ready, len(leases), await open_holds(visit.management.pool))


ROUTES: Final = (route("/books", get=show),)
