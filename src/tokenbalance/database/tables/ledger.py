"""The identity of the books, and the ledger."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from uuid import UUID  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs, one_of

ENTRY_KINDS = ("grant", "top-up", "set", "charge", "refund", "adjustment", "expiry")


class Books(Base):
    """The identity of these books, in one row: a journal must not be applied to other books."""

    __tablename__ = "books"
    __table_args__: TableArgs = (CheckConstraint("single", "single_row"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    single: Mapped[bool] = mapped_column(unique=True, server_default=text("true"))
    holds_covered_after: Mapped[int] = mapped_column(server_default=text("0"))
    """No ledger entry after this one takes credits that open holds reserve: earlier versions did.
    0 in books that were created later."""


class LedgerEntry(Base):
    """One change of a balance; append-only, which a trigger enforces."""

    __tablename__ = "ledger_entries"
    __table_args__: TableArgs = (
        ForeignKeyConstraint(
            ["account_id", "request_id"], ["holds.account_id", "holds.request_id"]
        ),
        CheckConstraint(one_of("kind", ENTRY_KINDS), "kind_known"),
        CheckConstraint(
            "amount <> 0 OR kind IN ('set', 'charge') OR asked IS NOT NULL", "amount_not_zero"
        ),
        CheckConstraint("asked IS NULL OR asked < amount AND amount <= 0", "asked_takes_more"),
        CheckConstraint(
            "kind <> 'charge' OR (amount <= 0 AND request_id IS NOT NULL)",
            "charge_takes_for_a_request",
        ),
        Index(
            "uq_ledger_entries_one_charge_per_request",
            "account_id",
            "request_id",
            unique=True,
            postgresql_where=text("kind = 'charge'"),
        ),
        Index("ix_ledger_entries_account_id_id", "account_id", "id"),
        Index(
            "uq_ledger_entries_one_entry_per_idempotency_key",
            "account_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # Entries made by people are rare among charges, so requests do not pay for these indexes.
        Index(
            "ix_ledger_entries_not_charges",
            "kind",
            "id",
            postgresql_where=text("kind <> 'charge'"),
        ),
        Index(
            "ix_ledger_entries_not_charges_of_account",
            "account_id",
            "kind",
            "id",
            postgresql_where=text("kind <> 'charge'"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[str]
    amount: Mapped[int]
    balance_after: Mapped[int]
    request_id: Mapped[str | None]
    actor: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    estimated: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    idempotency_key: Mapped[str | None]
    """Chosen by the caller: a second entry with the same key is not made."""
    asked: Mapped[int | None]
    """The amount that was asked for, where open holds kept a part of it."""
