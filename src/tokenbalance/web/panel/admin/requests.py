"""The requests of all users, newest first, with filters, and as CSV."""

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
from tokenbalance.web.panel.admin.filters import kept, pages, read_whose
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.download import csv_download
from tokenbalance.web.panel.forms import query_form, refuse_wrong
from tokenbalance.web.panel.links import address
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/requests"
_FILE: Final = "/admin/requests.csv"
_STATES: Final = {state: state for state in HOLD_STATES}
_ONLY: Final = {"estimated": "estimated charges", "overrun": "overruns"}
_FIELDS: Final = ("user", "state", "model", "only", "since", "until")
_FILE_FIELDS: Final = ("user", "since", "until")


async def show(visit: Visit) -> Response:
    """List requests."""
    form = query_form(visit.request, (*_FIELDS, "after"))
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
    return render(
        visit,
        "admin/requests.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        requests=page.data if page else (),
        states=_STATES,
        only=_ONLY,
        links=pages(_PATH, kept(form, _FIELDS), after, page and page.next),
        download=address(_FILE, **kept(form, _FILE_FIELDS)),
    )


async def download(visit: Visit) -> Response:
    """Download the usage of a user and a period."""
    form = query_form(visit.request, _FILE_FIELDS)
    whose = await read_whose(visit, form)
    refuse_wrong(form)
    batches = export_usage(visit.management.sessions, whose.period, whose.account_id)
    return await csv_download("usage", csv_lines(USAGE_COLUMNS, batches))


ROUTES: Final = (
    route("/requests", get=show),
    route("/requests.csv", get=download),
)
