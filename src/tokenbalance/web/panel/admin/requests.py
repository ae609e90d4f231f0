"""The requests of all users, newest first, with filters, found by id, and as CSV."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import (
    HOLD_STATES,
    USAGE_COLUMNS,
    RequestQuery,
    csv_lines,
    export_usage,
    requests_page,
)
from tokenbalance.web.panel.admin.filtered_list import FILE_FIELDS, FilteredList
from tokenbalance.web.panel.admin.filters import read_whose
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.download import csv_download
from tokenbalance.web.panel.finding import FIELD, look_up
from tokenbalance.web.panel.forms import query_form, refuse_wrong
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_LIST: Final = FilteredList(
    "requests", ("user", "team", "state", "model", "only", "since", "until")
)
_STATES: Final = {state: state for state in HOLD_STATES}
_ONLY: Final = {"estimated": "estimated charges", "overrun": "overruns"}


async def show(visit: Visit) -> Response:
    """List requests, or lead to the one whose id was typed."""
    form = _LIST.form(visit, FIELD)
    found, search = await look_up(visit, form, None)
    if found is not None:
        return go_to(f"/admin/requests/{found}", visit)
    whose = await read_whose(visit, form)
    query = RequestQuery(
        account_id=whose.account_id,
        state=form.one_of("state", _STATES) or None,
        model=form.text("model") or None,
        period=whose.period,
        estimated=form.one_of("only", _ONLY) == "estimated",
        overrun=form.one_of("only", _ONLY) == "overrun",
    )
    after = form.typed("after") or None
    page = None
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await requests_page(session, query, after, ROWS)
    return _LIST.render(
        visit,
        form,
        page and page.next,
        HTTPStatus.NOT_FOUND if search.errors else HTTPStatus.OK,
        search=search,
        requests=page.data if page else (),
        states=_STATES,
        only=_ONLY,
    )


async def download(visit: Visit) -> Response:
    """Download the usage of a user and a period."""
    form = query_form(visit.request, FILE_FIELDS)
    whose = await read_whose(visit, form)
    refuse_wrong(form)
    batches = export_usage(visit.management.sessions, whose.period, whose.account_id)
    return await csv_download("usage", csv_lines(USAGE_COLUMNS, batches))


ROUTES: Final = (
    route("/requests", get=show),
    route("/requests.csv", get=download),
)
