"""Counts of refused requests."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs


class RefusalCount(Base):
    """Requests made with one key on one day (UTC) that were refused with one code.

    Without foreign keys, which would lock accounts and keys; neither is ever deleted.
    """

    __tablename__ = "refusals"
    __table_args__: TableArgs = (CheckConstraint("count > 0", "count_positive"),)

    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(primary_key=True)
    """Of our error, as callers got it."""
    count: Mapped[int]
    last_at: Mapped[datetime]
    """By the clock of the process that refused it."""
