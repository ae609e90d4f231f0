"""The events: what privileged people changed."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs


class EventRecord(Base):
    """One change by a superuser, a command or the server; append-only, which a trigger enforces.

    Written in the transaction of the change, so there are none of changes that failed.
    """

    __tablename__ = "events"
    __table_args__: TableArgs = (
        CheckConstraint("jsonb_typeof(details) = 'object'", "details_are_an_object"),
        Index("ix_events_at", "at"),
        Index("ix_events_event_id", "event", "id"),
        Index("ix_events_actor_lower_id", func.lower(text("actor")), "id"),
        Index(
            "ix_events_user_id_id",
            "user_id",
            "id",
            postgresql_where=text("user_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    event: Mapped[str]
    actor: Mapped[str]
    """The e-mail at that time, `cli` or `server`."""
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    actor_key_id: Mapped[int | None]
    """The API key that the actor used. No foreign key: an event outlives what it is about."""
    address: Mapped[str] = mapped_column(server_default="")
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    key_id: Mapped[int | None]
    request_id: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny] - any JSON
        JSONB, server_default=text("'{}'")
    )
    """Values as they were and became; never a secret."""
