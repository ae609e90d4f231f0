"""The recorded events, for superusers: as pages of JSON, or as one CSV file."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final, TypeAlias

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from tokenbalance.books.reports import csv_lines
from tokenbalance.events import Change
from tokenbalance.events.reading import (
    EVENT_COLUMNS,
    EventQuery,
    EventRow,
    event_cells,
    events_page,
    export_events,
)
from tokenbalance.model import Json
from tokenbalance.web.api.callers import Superuser
from tokenbalance.web.api.csv import csv_documented, csv_response, prefers_csv
from tokenbalance.web.api.fields import Number, Text
from tokenbalance.web.api.listing import Rows
from tokenbalance.web.api.responses import PageResponse, example, page_response
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

events_router = api_router("Events")

_EXAMPLE: Final[dict[str, Json]] = {
    "id": 12,
    "at": "2030-01-31T12:00:00Z",
    "event": "user.disabled",
    "actor": "admin@example.com",
    "actor_id": 1,
    "actor_key_id": None,
    "address": "192.0.2.7",
    "user_id": 7,
    "email": "ada@example.com",
    "account_id": 7,
    "key_id": None,
    "request_id": None,
    "details": {"is_active": {"old": True, "new": False}},
    "team": "",
}
_Actor: TypeAlias = Annotated[
    Text | None, Query(description="Only of this actor: an e-mail, `cli` or `server`.")
]
_Event: TypeAlias = Annotated[Change | None, Query(description="Only this event.")]
_About: TypeAlias = Annotated[Number | None, Query(description="Only about this user.")]
_AboutTeam: TypeAlias = Annotated[Number | None, Query(description="Only about this team.")]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are listed."""

    actor: _Actor = None
    event: _Event = None
    user_id: _About = None
    team_id: _AboutTeam = None


class EventResponse(BaseModel):
    """What a superuser, a command or the server changed."""

    model_config: ClassVar[ConfigDict] = example(**_EXAMPLE)

    id: int
    at: datetime
    event: str
    actor: str
    """The e-mail at that time; `cli` for a command, `server` for the server itself."""
    actor_id: int | None
    actor_key_id: int | None
    """The API key that was used; null if the actor had signed in."""
    address: str
    """The client's IP address; empty for a command."""
    user_id: int | None
    """The user that it is about."""
    email: str | None
    account_id: int | None
    key_id: int | None
    """The key that it is about."""
    request_id: str | None
    details: Mapping[str, object]
    """Values; one that changed is `{"old": ..., "new": ...}`."""
    team: str
    """The name of the team that it is about; empty: about none."""


@events_router.get(
    "/events",
    summary="Events",
    response_model=PageResponse[EventResponse],
    responses=csv_documented(EVENT_COLUMNS),
)
async def list_events(
    request: Request,
    _caller: Superuser,
    rows: Rows,
    only: Annotated[Filter, Depends()],
) -> PageResponse[EventResponse] | StreamingResponse:
    """List what superusers, commands and the server have changed, newest first.

    With `Accept: text/csv` all matching events are returned as one file, oldest first; `limit` and
    `after` are ignored.
    """
    sessions = management_of(request).sessions
    query = EventQuery(
        actor=only.actor,
        event=only.event,
        user_id=only.user_id,
        team_id=only.team_id,
        since=rows.since,
        until=rows.until,
    )
    if prefers_csv(request):
        cells = event_cells(export_events(sessions, query))
        return await csv_response(csv_lines(EVENT_COLUMNS, cells), "events")
    async with sessions() as session:
        page = await events_page(session, query, rows.after, rows.limit)
    return page_response(page, _event_response)


def _event_response(row: EventRow) -> EventResponse:
    return EventResponse(
        id=row.id,
        at=row.at,
        event=row.event,
        actor=row.actor,
        actor_id=row.actor_id,
        actor_key_id=row.actor_key_id,
        address=row.address,
        user_id=row.user_id,
        email=row.email,
        account_id=row.account_id,
        key_id=row.key_id,
        request_id=row.request_id,
        details=row.details,
        team=row.team,
    )
