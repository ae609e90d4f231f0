"""The records of one request: its hold, its place among the waiters, and its usage."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs, one_of

HOLD_STATES = ("open", "settled", "voided", "expired")


class HoldRecord(Base):
    """Credits reserved for one request. Open once; settled, voided or expired once."""

    __tablename__ = "holds"
    __table_args__: TableArgs = (
        CheckConstraint("amount > 0", "amount_positive"),
        CheckConstraint(one_of("state", HOLD_STATES), "state_known"),
        CheckConstraint("(state = 'open') = (ended_at IS NULL)", "ended_iff_not_open"),
        CheckConstraint("least(known_input, known_output) >= 0", "known_not_negative"),
        Index(
            "ix_holds_open",
            "account_id",
            "request_id",
            postgresql_where=text("state = 'open'"),
        ),
        # Over all accounts: ids sort by time.
        Index("ix_holds_request_id", "request_id"),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id"))
    amount: Mapped[int]
    state: Mapped[str] = mapped_column(server_default="open")
    endpoint: Mapped[str]
    model: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    lease_until: Mapped[datetime] = mapped_column(server_default=func.now())
    """Until then its process is responsible for it; after that the sweep may end it."""
    known_input: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens charged if the process dies: at first the estimated input, later what was counted."""
    known_output: Mapped[int] = mapped_column(server_default=text("0"))
    estimated_input: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens: the ceiling of the input, as estimated before dispatch."""
    estimated_output: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens: the most that all choices together may have."""
    rates: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    """Credits for one unit of each kind, as exact decimals; null means one credit per token."""

    # The trace: written with the end of the hold, null until then and where another process ended
    # it. What each of them says is told by `model.Trace`.
    upstream_status: Mapped[int | None] = mapped_column(SmallInteger)
    error_code: Mapped[str | None]
    upstream_request_id: Mapped[str | None]
    first_byte_ms: Mapped[int | None] = mapped_column(Integer)
    total_ms: Mapped[int | None] = mapped_column(Integer)
    streamed: Mapped[bool | None]
    output_cap: Mapped[int | None]
    capped: Mapped[bool | None]


class Waiter(Base):
    """A request that waits for open holds of its account, in the order of arrival.

    Unlogged: after a crash of the database there are no waiters any more.
    """

    __tablename__ = "waiters"
    __table_args__: TableArgs = (
        CheckConstraint("wanted > 0", "wanted_positive"),
        {"prefixes": ["UNLOGGED"]},
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    wanted: Mapped[int]
    alive_until: Mapped[datetime]
    """Until then its process counts as alive; renewed by heartbeats while the request waits."""


class UsageRecord(Base):
    """What one settled request used, as reported by the upstream, and what it was charged."""

    __tablename__ = "usage"
    __table_args__: TableArgs = (
        ForeignKeyConstraint(
            ["account_id", "request_id"], ["holds.account_id", "holds.request_id"]
        ),
        CheckConstraint(
            "least(input, cached_input, output, reasoning, audio_input, audio_output, total,"
            " charge, overrun) >= 0",
            "counts_not_negative",
        ),
        CheckConstraint("least(image_input, image_output) >= 0", "images_not_negative"),
        Index("ix_usage_account_id_created_at", "account_id", "created_at"),
        # Over all accounts. A B-tree would slow down every request; this index has a few pages.
        Index(
            "ix_usage_created_at",
            "created_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32, "autosummarize": True},
        ),
    )

    account_id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    input: Mapped[int]
    cached_input: Mapped[int]
    output: Mapped[int]
    reasoning: Mapped[int]
    audio_input: Mapped[int]
    audio_output: Mapped[int]
    image_input: Mapped[int] = mapped_column(server_default=text("0"))
    image_output: Mapped[int] = mapped_column(server_default=text("0"))
    total: Mapped[int]
    charge: Mapped[int]
    overrun: Mapped[int]
    """Credits by which the charge exceeded the hold; 0 unless an estimate was too low."""
    estimated: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    corrected_at: Mapped[datetime | None]
    """When the true usage replaced the estimated usage of an expired hold; happens once."""
