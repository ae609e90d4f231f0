"""One's own ledger: every change of the balance, as a list and as a file."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.books.reports import (
    ENTRY_COLUMNS,
    EVER,
    EntryQuery,
    csv_lines,
    entries_page,
    export_entries,
)
from tokenbalance.database.paging import Page as Rows
from tokenbalance.web.panel.download import csv_download
from tokenbalance.web.panel.forms import query_form, refuse_wrong
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.reports import EntryRow
    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/ledger"


async def show(visit: Visit) -> Response:
    """List the entries, newest first."""
    form = query_form(visit.request, ("after",))
    after = form.typed("after") or None
    query = EntryQuery(visit.caller.account_id, newest_first=True)
    page: Rows[EntryRow] = Rows((), None)
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await entries_page(session, query, after, ROWS)
    return render(
        visit,
        "account/ledger.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        page=page,
        after=after,
    )


async def download(visit: Visit) -> Response:
    """Download all entries."""
    refuse_wrong(query_form(visit.request, ()))
    batches = export_entries(visit.management.sessions, EVER, visit.caller.account_id)
    return await csv_download("ledger", csv_lines(ENTRY_COLUMNS, batches))


ROUTES: Final = (
    Route(PATH, Page(get=show), include_in_schema=False),
    Route(f"{PATH}.csv", Page(get=download), include_in_schema=False),
)
