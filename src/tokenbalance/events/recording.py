"""Records an event, in the transaction of the change that it is about: both happen, or neither.

Whoever makes a change records it, where its old and its new values are known. An event of a
privileged actor, or about what belongs to a team, is a row, which nobody can change or delete; each
event is a line of the security log, written after the commit. Never commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.database.tables import EventRecord
from tokenbalance.events.commits import say_after_commit
from tokenbalance.events.names import OF_TEAMS
from tokenbalance.events.security import Line

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.events.names import Change
    from tokenbalance.model import Actor, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an event is about, by ids."""

    user_id: int | None = None
    account_id: int | None = None
    key_id: int | None = None
    request_id: str | None = None


_NOBODY: Final = Subject()


def record(
    session: AsyncSession,
    actor: Actor,
    event: Change,
    subject: Subject = _NOBODY,
    **details: Json,
) -> None:
    """Record what somebody changed.

    Args:
        session: the transaction of the change.
        actor: who changed it.
        event: what happened.
        subject: to whom or what.
        **details: what it was about, `changed(old, new)` for values; never a secret.

    """
    if actor.is_privileged or actor.is_for_team or event in OF_TEAMS:
        session.add(_row(actor, event, subject, details))
    line = Line(
        event=event,
        outcome="ok",
        user=subject.user_id,
        actor=actor.name,
        address=actor.address,
        key_id=subject.key_id,
        actor_key_id=actor.key_id,
        request_id=subject.request_id,
    )
    say_after_commit(session, line)


def changed(old: Json, new: Json) -> dict[str, Json]:
    """Write down a value before and after a change, for the details of an event."""
    return {"old": old, "new": new}


def _row(actor: Actor, event: Change, subject: Subject, details: dict[str, Json]) -> EventRecord:
    return EventRecord(
        event=event,
        actor=actor.name,
        actor_id=actor.user_id,
        actor_key_id=actor.key_id,
        address=actor.address,
        user_id=subject.user_id,
        account_id=subject.account_id,
        key_id=subject.key_id,
        request_id=subject.request_id,
        details=details,
    )
