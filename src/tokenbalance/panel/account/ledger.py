"""One's ledger: every change of the balance, as a list and as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.ledger.report import (
    ENTRY_COLUMNS,
    EVER,
    EntryQuery,
    csv_lines,
    entries_page,
    export_entries,
)
from tokenbalance.panel.download import csv_download
from tokenbalance.panel.forms import query_form
from tokenbalance.panel.page import Page
from tokenbalance.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.panel.visit import Visit

PATH: Final = "/account/ledger"
ROWS: Final = 50


async def show(visit: Visit) -> Response:
    """List the entries, newest first."""
    after = query_form(visit.request).typed("after") or None
    query = EntryQuery(visit.caller.account_id, newest_first=True)
    async with visit.management.sessions() as session:
        page = await entries_page(session, query, after, ROWS)
    return render(visit, "account/ledger.html", page=page, after=after)


async def download(visit: Visit) -> Response:
    """Give all entries as a file."""
    batches = export_entries(visit.management.sessions, EVER, visit.caller.account_id)
    return await csv_download("ledger", csv_lines(ENTRY_COLUMNS, batches))


ROUTES: Final = (
    Route(PATH, Page(get=show), include_in_schema=False),
    Route(f"{PATH}.csv", Page(get=download), include_in_schema=False),
)
