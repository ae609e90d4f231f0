"""What people are told of by themselves: alerts, who gets them, and how far they have come."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs

_PENDING: Final = "done_at IS NULL"


class AlertThreshold(Base):
    """A balance below which an alert is written, once until the balance is above it again."""

    __tablename__ = "alert_thresholds"
    __table_args__: TableArgs = (CheckConstraint("below > 0", "below_positive"),)

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    below: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    is_armed: Mapped[bool] = mapped_column(server_default=text("true"))


class Alert(Base):
    """Something to tell, written in the transaction in which it happened."""

    __tablename__ = "alerts"
    __table_args__: TableArgs = (
        Index("uq_alerts_once", "once", unique=True, postgresql_where=text("once IS NOT NULL")),
        Index("ix_alerts_account_id_id", "account_id", "id"),
        Index("ix_alerts_unsent", "id", postgresql_where=text("NOT is_addressed")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    """Whom it is about; null: the operator."""
    event: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)  # pyright: ignore[reportExplicitAny] - any JSON
    once: Mapped[str | None]
    """What it is about, where it must not be told twice."""
    is_addressed: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether its deliveries have been written."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Webhook(Base):
    """An address that alerts are sent to, after the scheme of Standard Webhooks."""

    __tablename__ = "webhooks"
    __table_args__: TableArgs = (Index("ix_webhooks_account_id", "account_id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    """Whose alerts it gets; null: everybody's and the operator's."""
    url: Mapped[str]
    secret: Mapped[str]
    """Signs what is sent; shown once, when it is made."""
    events: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Those that it gets; empty: all."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]


class AlertDelivery(Base):
    """One alert on its way to one receiver."""

    __tablename__ = "alert_deliveries"
    __table_args__: TableArgs = (
        CheckConstraint("num_nulls(webhook_id, email) = 1", "one_receiver"),
        Index("ix_alert_deliveries_next_at", "next_at", postgresql_where=text(_PENDING)),
        Index("ix_alert_deliveries_alert_id", "alert_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"))
    webhook_id: Mapped[int | None] = mapped_column(ForeignKey("webhooks.id"))
    email: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it is tried next, or when the attempt under way counts as lost."""
    done_at: Mapped[datetime | None]
    """When it arrived, or was given up."""
    problem: Mapped[str | None]
    """Why the last attempt failed; null once it has arrived."""
