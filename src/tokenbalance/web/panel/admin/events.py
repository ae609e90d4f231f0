"""What superusers, commands and the server have changed, newest first, with filters, and as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import csv_lines
from tokenbalance.events import RECORDED
from tokenbalance.events.reading import (
    EVENT_COLUMNS,
    EventQuery,
    event_cells,
    events_page,
    export_events,
)
from tokenbalance.web.panel.admin.filtered_list import FilteredList
from tokenbalance.web.panel.admin.filters import read_whose
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.download import csv_download
from tokenbalance.web.panel.forms import query_form, refuse_wrong
from tokenbalance.web.panel.listing import ROWS

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

_FIELDS: Final = ("actor", "event", "user", "since", "until")
_LIST: Final = FilteredList("events", _FIELDS, _FIELDS)
_EVENTS: Final = {event: event for event in RECORDED}


async def show(visit: Visit) -> Response:
    """List events."""
    form = _LIST.form(visit)
    query = await _read_filter(visit, form)
    page = None
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await events_page(session, query, form.typed("after") or None, ROWS)
    return _LIST.render(
        visit, form, page and page.next, events=page.data if page else (), names=_EVENTS
    )


async def download(visit: Visit) -> Response:
    """Download the events that match the filter."""
    form = query_form(visit.request, _FIELDS)
    query = await _read_filter(visit, form)
    refuse_wrong(form)
    cells = event_cells(export_events(visit.management.sessions, query))
    return await csv_download("events", csv_lines(EVENT_COLUMNS, cells))


async def _read_filter(visit: Visit, form: Form) -> EventQuery:
    whose = await read_whose(visit, form)
    return EventQuery(
        actor=form.text("actor") or None,
        event=form.one_of("event", _EVENTS) or None,
        user_id=None if whose.user is None else whose.user.id,
        since=whose.period.since,
        until=whose.period.until,
    )


ROUTES: Final = (
    route("/events", get=show),
    route("/events.csv", get=download),
)
