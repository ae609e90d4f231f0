"""The overview: balances and holds now, and the usage of the last days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.pricing.rates import TOKEN_KINDS, split
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
    quantities = {
        "input": sums.input,
        "cached_input": sums.cached_input,
        "output": sums.output,
        "reasoning": sums.reasoning,
        "audio_input": sums.audio_input,
        "audio_output": sums.audio_output,
        "image_input": sums.image_input,
        "image_output": sums.image_output,
    }
    usage = Usage(quantities, sums.total)
    for kind, tokens in zip(TOKEN_KINDS, split(usage), strict=True):
        if tokens:
            yield kind.replace("_", " "), tokens


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
