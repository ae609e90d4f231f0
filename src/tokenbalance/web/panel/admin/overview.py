"""The overview: balances and holds now, and the usage of the last days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rates import split
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.books.reports import overview
from tokenbalance.model import Usage
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.charts import chart_by_day
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from starlette.responses import Response

    from tokenbalance.books.reports import Overview, Sums
    from tokenbalance.web.panel.charts import Chart
    from tokenbalance.web.panel.visit import Visit

DAYS: Final = 30


async def show(visit: Visit) -> Response:
    """Show the state of everything."""
    async with visit.management.sessions() as session:
        books = await overview(session, DAYS)
    return render(
        visit,
        "admin/overview.html",
        search=Form(),
        books=books,
        tokens=_tokens_chart(books),
        requests=_requests_chart(books),
    )


def _tokens_chart(books: Overview) -> Chart:
    days = [day.day for day in books.days]
    numbers = ((day.day, kind, tokens) for day in books.days for kind, tokens in _by_kind(day.sums))
    return chart_by_day("Tokens by kind", "tokens", days, numbers)


def _by_kind(sums: Sums) -> Iterator[tuple[str, int]]:
    """Tokens by kind, each counted once: `input` and `output` without the other kinds."""
    tokens = split(Usage(sums.quantities, sums.total))
    for unit in UNITS.rows:
        if unit.name in tokens:
            yield unit.label, tokens[unit.name]


def _requests_chart(books: Overview) -> Chart:
    days = [day.day for day in books.days]
    return chart_by_day("Requests and errors", "requests", days, _requests_of(books))


def _requests_of(books: Overview) -> Iterator[tuple[date, str, int]]:
    for day in books.days:
        if day.sums.requests:
            yield day.day, "charged", day.sums.requests
        if day.voided:
            yield day.day, "failed, not charged", day.voided


ROUTES: Final = (route("", get=show),)
