"""The recorded events: pages, newest first, and all of them for files, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import orjson
from sqlalchemy import func, select

from tokenbalance.database.paging import PAGE_ROWS, Page, page_of, read_cursor
from tokenbalance.database.tables import Account, EventRecord, User
from tokenbalance.database.whose import TEAM

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions
    from tokenbalance.model import Json

EVENT_COLUMNS: Final = (
    *("id", "at", "event", "actor", "actor_id", "actor_key_id", "address"),
    *("user_id", "email", "account_id", "key_id", "request_id", "details", "team"),
)
_ROWS: Final = 2000
"""Of a batch."""
_Cell: TypeAlias = "str | int | datetime | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Which events; None: all."""

    actor: str | None = None
    """An actor's name; case is ignored."""
    event: str | None = None
    user_id: int | None = None
    """Whom it is about."""
    team_id: int | None = None
    """The team that it is about."""
    since: datetime | None = None
    until: datetime | None = None
    """Excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One recorded event."""

    id: int
    at: datetime
    event: str
    actor: str
    """The e-mail at that time, `cli` or `server`."""
    actor_id: int | None
    actor_key_id: int | None
    """The API key that the actor used."""
    address: str
    user_id: int | None
    """Whom it is about."""
    email: str | None
    """The e-mail of that user."""
    account_id: int | None
    key_id: int | None
    request_id: str | None
    details: dict[str, Json]
    """A change of a value is `{"old": ..., "new": ...}`."""
    team: str
    """The name of the team that it is about; empty: about none."""

    @property
    def cells(self) -> Sequence[_Cell]:
        """The row of a file, as `EVENT_COLUMNS`; details as JSON."""
        before = (self.id, self.at, self.event, self.actor, self.actor_id, self.actor_key_id)
        subject = (self.user_id, self.email, self.account_id, self.key_id, self.request_id)
        details = orjson.dumps(self.details).decode()
        return (*before, self.address, *subject, details, self.team)


async def events_page(
    session: AsyncSession, query: EventQuery, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[EventRow]:
    """Read a page of events, newest first.

    Args:
        session: the caller's.
        query: which events.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    statement = _matching(query).order_by(EventRecord.id.desc()).limit(limit + 1)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        statement = statement.where(EventRecord.id < last_id)
    return page_of(await _read(session, statement), limit, lambda row: (row.id,))


async def export_events(
    sessions: Sessions, query: EventQuery
) -> AsyncGenerator[Sequence[EventRow]]:
    """Read all events in batches, oldest first; no connection is held between two batches."""
    statement = _matching(query).order_by(EventRecord.id).limit(_ROWS)
    last_id = 0
    while True:
        async with sessions() as session:
            rows = await _read(session, statement.where(EventRecord.id > last_id))
        if rows:
            yield rows
        if len(rows) < _ROWS:
            return
        last_id = rows[-1].id


async def event_cells(
    batches: AsyncGenerator[Sequence[EventRow]],
) -> AsyncGenerator[Sequence[Sequence[_Cell]]]:
    """Turn exported events into rows of a file."""
    async for batch in batches:
        yield [row.cells for row in batch]


def _matching(query: EventQuery) -> Select[EventRecord, str, str]:
    statement = (
        select(EventRecord, User.email, TEAM)
        .outerjoin(User, User.id == EventRecord.user_id)
        .outerjoin(Account, Account.id == EventRecord.account_id)
    )
    if query.actor is not None:
        statement = statement.where(func.lower(EventRecord.actor) == func.lower(query.actor))
    if query.event is not None:
        statement = statement.where(EventRecord.event == query.event)
    if query.user_id is not None:
        statement = statement.where(EventRecord.user_id == query.user_id)
    if query.team_id is not None:
        statement = statement.where(EventRecord.account_id == query.team_id, Account.kind == "team")
    if query.since is not None:
        statement = statement.where(EventRecord.at >= query.since)
    if query.until is not None:
        statement = statement.where(EventRecord.at < query.until)
    return statement


async def _read(session: AsyncSession, statement: Select[EventRecord, str, str]) -> list[EventRow]:
    found = (await session.execute(statement)).all()
    return [_row(*cast("tuple[EventRecord, str | None, str | None]", tuple(row))) for row in found]


def _row(record: EventRecord, email: str | None, team: str | None) -> EventRow:
    return EventRow(
        id=record.id,
        at=record.at,
        event=record.event,
        actor=record.actor,
        actor_id=record.actor_id,
        actor_key_id=record.actor_key_id,
        address=record.address,
        user_id=record.user_id,
        email=email,
        account_id=record.account_id,
        key_id=record.key_id,
        request_id=record.request_id,
        details=record.details,
        team=team or "",
    )
