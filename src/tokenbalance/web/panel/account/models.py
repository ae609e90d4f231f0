"""Models and prices: what the rate card asks today, for everybody who is signed in."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.books.reports.price_list import PriceList
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/models"
_ROWS: Final = 200
"""Of a page: prices are compared, so that most cards are shown whole."""


async def show(visit: Visit) -> Response:
    """List the rows of the card that the search finds, in the order of the card."""
    form = query_form(visit.request, ("search", "after"))
    search, after = form.text("search", chars_max=200), form.typed("after") or None
    prices = PriceList.today(visit.management.rate_card)
    page = None if form.errors else prices.page(prices.found(search), after, _ROWS)
    return render(
        visit,
        "account/models.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        search=search,
        prices=prices,
        page=page,
        after=after,
    )


ROUTES: Final = (Route(PATH, Page(get=show), include_in_schema=False),)
