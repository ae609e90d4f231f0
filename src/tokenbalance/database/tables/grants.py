"""Credits with a source and perhaps an end, what was spent of them, and who gets more of them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    SmallInteger,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs, one_of

PERIODS: Final = ("day", "week", "month")


class Grant(Base):
    """Credits that an account has got, and what remained of them at its last burn.

    An account without a row has one grant without an end: its balance. The id is that of the ledger
    entry by which the credits came; of what an account had before its first row, that of its last
    entry at that time. Changed only while the account's row is locked.
    """

    __tablename__ = "grants"
    __table_args__: TableArgs = (
        CheckConstraint("amount > 0", "amount_positive"),
        CheckConstraint("remaining BETWEEN 0 AND amount", "remaining_is_a_part"),
        CheckConstraint("priority BETWEEN 0 AND 100", "priority_in_range"),
        CheckConstraint(
            "(allowance_id IS NULL) = (period_start IS NULL)", "period_is_of_an_allowance"
        ),
        ForeignKeyConstraint(
            ["account_id", "allowance_id"], ["allowances.account_id", "allowances.id"]
        ),
        Index(
            "uq_grants_one_per_period",
            "account_id",
            "allowance_id",
            "period_start",
            unique=True,
            postgresql_where=text("allowance_id IS NOT NULL"),
        ),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int]
    """What could be spent of it when it came, with what was carried over."""
    carried: Mapped[int] = mapped_column(server_default=text("0"))
    """The part of the amount that came from grants of earlier periods, and not by the entry."""
    remaining: Mapped[int]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("50"))
    """A lower one is spent first."""
    expires_at: Mapped[datetime | None]
    """Requests that begin at or after it spend nothing of it; null: it has no end."""
    ended_at: Mapped[datetime | None]
    """When its end was entered; what remains is kept for requests that began before its end."""
    allowance_id: Mapped[int | None]
    period_start: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    note: Mapped[str] = mapped_column(server_default="")


class Allowance(Base):
    """A rule that issues a grant each period."""

    __tablename__ = "allowances"
    __table_args__: TableArgs = (
        CheckConstraint("amount > 0", "amount_positive"),
        CheckConstraint("rollover_max >= 0", "rollover_not_negative"),
        CheckConstraint(one_of("every", PERIODS), "every_known"),
        CheckConstraint("removed_at IS NULL OR next_at IS NULL", "removed_issues_nothing"),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    amount: Mapped[int]
    """Credits each period."""
    every: Mapped[str]
    starts_at: Mapped[datetime | None]
    """From which its periods are counted, in the account's time zone; null: they are those of the
    calendar, and the first one is that in which it was created."""
    ends_at: Mapped[datetime | None]
    """No period that begins at or after it is issued."""
    rollover_max: Mapped[int] = mapped_column(server_default=text("0"))
    """How much of what remains at the end of a period is carried over into the next one."""
    next_at: Mapped[datetime | None]
    """When its next period begins; null: there is none."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[str]
    """The actor's name."""
    removed_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(server_default="")


class Burn(Base):
    """Which grants a range of an account's ledger entries was taken from, or given back to.

    Ranges follow on each other without a gap. Charges of a range took from its grants one after the
    other, so that the part of each charge follows from the balances before and after it. Everything
    else, and every charge that could not take from all grants, has a range of its own.
    """

    __tablename__ = "burns"
    __table_args__: TableArgs = (
        CheckConstraint("entries_after < up_to OR up_to = 0", "range_not_empty"),
        CheckConstraint("cardinality(grants) = cardinality(amounts)", "each_grant_has_its_amount"),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    up_to: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """The last entry of the range, or an id behind it and before the next entry."""
    entries_after: Mapped[int]
    """The range begins behind this entry."""
    balance_before: Mapped[int]
    balance_after: Mapped[int]
    is_plain: Mapped[bool]
    """It has only charges that could take from all grants, and may be extended by more of them."""
    grants: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    amounts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """Of each grant, in the order in which they were taken; negative: given back."""
