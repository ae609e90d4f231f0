"""The ledger entries of all users, newest first, with filters, and as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import (
    ENTRY_COLUMNS,
    ENTRY_KINDS,
    EntryQuery,
    csv_lines,
    entries_page,
    export_entries,
)
from tokenbalance.web.panel.admin.filtered_list import FILE_FIELDS, FilteredList
from tokenbalance.web.panel.admin.filters import read_whose
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.download import csv_download
from tokenbalance.web.panel.forms import query_form, refuse_wrong
from tokenbalance.web.panel.listing import ROWS

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_LIST: Final = FilteredList("ledger", ("user", "team", "kind", "since", "until"))
_KINDS: Final = {kind: kind for kind in ENTRY_KINDS}


async def show(visit: Visit) -> Response:
    """List entries."""
    form = _LIST.form(visit)
    whose = await read_whose(visit, form)
    kind, after = form.one_of("kind", _KINDS), form.typed("after") or None
    page = None
    if not form.errors:
        kinds = (kind,) if kind else ()
        query = EntryQuery(whose.account_id, kinds, whose.period, newest_first=True)
        async with visit.management.sessions() as session:
            page = await entries_page(session, query, after, ROWS)
    return _LIST.render(
        visit, form, page and page.next, entries=page.data if page else (), kinds=_KINDS
    )


async def download(visit: Visit) -> Response:
    """Download the entries of a user and a period, of every kind."""
    form = query_form(visit.request, FILE_FIELDS)
    whose = await read_whose(visit, form)
    refuse_wrong(form)
    batches = export_entries(visit.management.sessions, whose.period, whose.account_id)
    return await csv_download("ledger", csv_lines(ENTRY_COLUMNS, batches))


ROUTES: Final = (
    route("/ledger", get=show),
    route("/ledger.csv", get=download),
)
