"""The health of the books: their verification, and the state of open holds and the journal.

Only reads. A verification reads every entry and every request, so each process runs one at a time;
meanwhile the page says that one is running.
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
    """The state of the books at one moment."""

    journal_ready: bool
    """Whether this process can start requests: its journal is writable."""
    in_flight: int
    """Requests of this process."""
    holds: OpenHolds


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a verification."""

    report: AuditReport
    at: datetime
    took_ms: int


async def show(visit: Visit) -> Response:
    """Show the state of the books, and verify them on request."""
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
