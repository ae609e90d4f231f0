"""Requests in progress: their holds, and their places among the waiters."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs


class OpenHold(Base):
    """Credits reserved for one request in progress; deleted when the hold ends.

    With an amount of 0 it is a tombstone: it reserves nothing, and a late placement of the same
    request conflicts with it. It is no request: only placements, the sweep, and who asks whether a
    request has ended see a tombstone.

    Account and key are not foreign keys, which would lock two rows for each request; the audit
    checks that they exist.
    """

    __tablename__ = "open_holds"
    __table_args__: TableArgs = (
        CheckConstraint("least(amount, known_input, known_output) >= 0", "nothing_is_negative"),
        # Rows live for seconds: room in each page for heartbeats, and a vacuum after every few
        # thousand requests, however many rows there are. Pages once used stay: cutting them off
        # would lock the table, and plans made for a few pages read all of it.
        {
            "postgresql_with": {
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 2000,
                "autovacuum_vacuum_insert_threshold": -1,
                "vacuum_truncate": False,
            }
        },
    )

    request_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key_id: Mapped[int]
    amount: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime] = mapped_column(server_default=func.now())
    """Until then its process is responsible for it; after that the sweep may end it."""
    known_input: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens charged if the process dies: at first the estimated input, later what was counted."""
    known_output: Mapped[int] = mapped_column(server_default=text("0"))
    estimated_input: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens: the ceiling of the input, as estimated before dispatch."""
    estimated_output: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens: the most that all choices together may have."""
    tokens: Mapped[int] = mapped_column(server_default=text("0"))
    """The ceiling of its tokens, as limits count them; 0 where it takes from none."""
    limit_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """The limits that it took from, and gives back to at its end; null: none."""
    endpoint: Mapped[str]
    model: Mapped[str | None]
    rates: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    """Credits for one unit of each kind, as exact decimals; null means one credit per token."""


class Waiter(Base):
    """A request that waits for open holds of its account, in the order of arrival.

    Unlogged: after a crash of the database there are no waiters any more.
    """

    __tablename__ = "waiters"
    __table_args__: TableArgs = (
        CheckConstraint("wanted >= 0", "wanted_not_negative"),
        {"prefixes": ["UNLOGGED"]},
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    wanted: Mapped[int]
    alive_until: Mapped[datetime]
    """Until then its process counts as alive; renewed by heartbeats while the request waits."""
