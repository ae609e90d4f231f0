"""One's own requests, and the explanation of each charge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.books.reports import (
    EVER,
    HOLD_STATES,
    Period,
    RequestQuery,
    explain,
    requests_page,
)
from tokenbalance.database.paging import Page as Rows
from tokenbalance.web.panel.finding import FIELD, look_up
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.reports import RequestRow
    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/requests"
FIELDS: Final = ("state", "days", "model")
STATES: Final = {state: state.capitalize() for state in HOLD_STATES}
DAYS: Final = {"1": "Last 24 hours", "7": "Last 7 days", "30": "Last 30 days", "90": "Last 90 days"}


async def show(visit: Visit) -> Response:
    """List the requests that match the filter, or lead to the one whose id was typed."""
    form = query_form(visit.request, (*FIELDS, FIELD, "after"))
    found, search = await look_up(visit, form, visit.caller.account_id)
    if found is not None:
        return go_to(f"{PATH}/{found}", visit)
    query = read_filter(form, visit.caller.account_id)
    after = form.typed("after") or None
    page: Rows[RequestRow] = Rows((), None)
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await requests_page(session, query, after, ROWS)
    return render(
        visit,
        "account/requests.html",
        status=_status(form, search),
        form=form,
        search=search,
        page=page,
        after=after,
        chosen={name: form.typed(name) for name in FIELDS},
        states=STATES,
        days=DAYS,
    )


def _status(form: Form, search: Form) -> HTTPStatus:
    if form.errors:
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.NOT_FOUND if search.errors else HTTPStatus.OK


async def show_one(visit: Visit) -> Response:
    """Explain one charge."""
    request_id = visit.parameter("request_id")
    async with visit.management.sessions() as session:
        explanation = await explain(session, request_id, visit.caller.account_id)
    return render(visit, "account/request.html", explanation=explanation)


def read_filter(form: Form, account_id: int | None) -> RequestQuery:
    """Read the filter."""
    days = form.one_of("days", DAYS)
    since = datetime.now(UTC) - timedelta(days=int(days)) if days else None
    return RequestQuery(
        account_id=account_id,
        state=form.one_of("state", STATES) or None,
        model=form.text("model", chars_max=200) or None,
        period=Period(since) if since else EVER,
    )


ROUTES: Final = (
    Route(PATH, Page(get=show), include_in_schema=False),
    Route(f"{PATH}/{{request_id}}", Page(get=show_one), include_in_schema=False),
)
