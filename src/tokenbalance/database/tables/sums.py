"""Usage summed by day, for reports."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import (
    CheckConstraint,
    Identity,
    Index,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs


class UsageSums:
    """Columns of the tables of sums: tokens, credits, and numbers of requests."""

    requests: Mapped[int] = mapped_column(server_default=text("0"))
    total: Mapped[int] = mapped_column(server_default=text("0"))
    charge: Mapped[int] = mapped_column(server_default=text("0"))
    overrun: Mapped[int] = mapped_column(server_default=text("0"))
    overruns: Mapped[int] = mapped_column(server_default=text("0"))
    estimated: Mapped[int] = mapped_column(server_default=text("0"))


class UsageDay(UsageSums, Base):
    """Usage of a model by a key on one day (UTC), up to `UsageSummed.until`."""

    __tablename__ = "usage_days"
    __table_args__: TableArgs = (Index("ix_usage_days_day_account_id", "day", "account_id"),)

    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    """Empty for requests that named no model."""
    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class UsageTotal(UsageSums, Base):
    """Usage of a model by everybody on one day (UTC), up to `UsageSummed.until`."""

    __tablename__ = "usage_totals"

    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    voided: Mapped[int] = mapped_column(server_default=text("0"))
    """Requests that ended on this day and cost nothing."""


class UsageDayKind(Base):
    """What was used of one kind, of a model by a key on one day (UTC): a part of `UsageDay`."""

    __tablename__ = "usage_day_kinds"
    __table_args__: TableArgs = (Index("ix_usage_day_kinds_day_account_id", "day", "account_id"),)

    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[int]


class UsageTotalKind(Base):
    """What was used of one kind, of a model by everybody on one day (UTC): of `UsageTotal`."""

    __tablename__ = "usage_total_kinds"

    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[int]


class UsageSummed(Base):
    """How far usage is summed, in one row: all before `until`, except the days in `UsageChange`."""

    __tablename__ = "usage_summed"
    __table_args__: TableArgs = (CheckConstraint("single", "single_row"),)

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    until: Mapped[datetime]


class UsageChange(Base):
    """A day whose usage changed after it was summed; its sums are wrong until recomputed.

    Written by a trigger, in the transaction of the change.
    """

    __tablename__ = "usage_changes"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    day: Mapped[date]


class TopAccount(Base):
    """One of the accounts that used most in the last `days` days, as far as they are summed."""

    __tablename__ = "top_accounts"

    days: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
