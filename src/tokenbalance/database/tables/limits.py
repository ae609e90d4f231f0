"""Limits that a hold takes from, and what has been taken."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs, one_of

UNITS: Final = ("requests", "tokens", "credits", "holds")


class Limit(Base):
    """One counted limit of one subject: its amount, and how much of it is taken.

        period                  is taken by          regained
        minute                  `taken_until`        while time passes: GCRA
        open                    `reserved`           when a hold ends
        ever                    `used`, `reserved`   never
        any other               `used`, `reserved`   in the next window

    It lies in the partition of who pays, so that it is taken by the statement that places the hold.
    Changed only while the account's row is locked. A hold remembers by id what it took from, so a
    limit that is removed and set anew owes nothing to it.
    """

    __tablename__ = "limits"
    __table_args__: TableArgs = (
        CheckConstraint(one_of("unit", UNITS), "unit_known"),
        CheckConstraint("amount >= 0", "amount_not_negative"),
        CheckConstraint("least(used, reserved) >= 0", "nothing_is_negative"),
        CheckConstraint("window_start < window_end", "window_not_empty"),
        Index("uq_limits_subject_name", "account_id", "subject", "name", unique=True),
        # Rows are written twice by every request: room in each page for their new versions.
        {"postgresql_with": {"fillfactor": 50}},
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    subject: Mapped[str] = mapped_column(Text(collation="C"))
    """`account`, or such as `key:17`, `member:5` (of a user), `project:3`, or an end user's."""
    name: Mapped[str] = mapped_column(Text(collation="C"))
    """The field of the API that has set it, or `budget:` and the name of a budget."""
    unit: Mapped[str]
    period: Mapped[str]
    amount: Mapped[int]
    anchor: Mapped[datetime | None]
    """From which windows are counted that are not of the calendar."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    taken_until: Mapped[datetime] = mapped_column(server_default=text("'-infinity'"))
    """Of a rate: when all of it will be available again (the theoretical arrival time of GCRA)."""
    window_start: Mapped[datetime] = mapped_column(server_default=text("'-infinity'"))
    """Holds that were placed before this are not counted."""
    window_end: Mapped[datetime] = mapped_column(server_default=text("'infinity'"))
    """Nothing is taken at or after this: the next window is entered first."""
    used: Mapped[int] = mapped_column(server_default=text("0"))
    """By requests that have ended."""
    reserved: Mapped[int] = mapped_column(server_default=text("0"))
    """By open holds."""
    is_bound: Mapped[bool] = mapped_column(server_default=text("false"))
    """Of a budget: only a superuser changes it."""
