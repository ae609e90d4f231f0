"""The identity of the books, and the ledger."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Final
from uuid import UUID  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import (
    CheckConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs, one_of

ENTRY_KINDS: Final = (
    "grant",
    "top-up",
    "set",
    "charge",
    "refund",
    "adjustment",
    "storage",
    "expiry",
    "transfer",
)
"""Kinds of rows that change a balance, as people see them."""
LEDGER_KINDS: Final = (*ENTRY_KINDS, "void")
HOLD_STATES: Final = ("open", "settled", "voided", "expired")
"""States of a request. An open one has a row in `open_holds`, any other one in the ledger."""

_AN_END = "state IS NOT NULL"
_NOT_AN_END = "state IS NULL"
_AFTER_AN_END = "kind IN ('adjustment', 'refund') AND request_id IS NOT NULL"


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
    """One change of a balance, the end of one request, or both; append-only by a trigger.

        kind        state     request_id   a row for
        charge      settled   set          a request that ended: what it used, and how it went
        charge      expired   set          a request whose process was gone
        void        voided    set          a request that cost nothing; changes no balance
        adjustment  null      set          the correction of an expired request, at most one: the
                                           difference to what was charged, which may be nothing
        adjustment  null      set          a rerate, the only one of these with `rates`: a request
                                           costs what these make of its usage from then on
        refund      null      set          credits given back
        storage     null      null         what was stored since `started_at`: bytes times days in
                                           `quantities`, and the rate
        transfer    null      null         credits moved from one account to another: two rows with
                                           one `transfer_id`, whose amounts are opposite
        any other   null      null         what people entered

    The usage of a request is the sum of its rows. Rows without `balance_after` change no balance
    and are no entries for people: voids, and corrections of 0 credits.

    Account and key are not foreign keys, which would lock two rows for each request; the audit
    checks that they exist. Wide columns come first, so that nothing is padded.
    """

    __tablename__ = "ledger"
    __table_args__: TableArgs = (
        CheckConstraint(one_of("kind", LEDGER_KINDS), "kind_known"),
        CheckConstraint(
            "CASE kind WHEN 'charge' THEN state IN ('settled', 'expired') AND amount <= 0"
            " WHEN 'void' THEN state = 'voided' AND amount = 0 ELSE state IS NULL END"
            " IS TRUE",
            "state_fits_kind",
        ),
        CheckConstraint(
            "state IS NULL OR num_nulls(request_id, key_id, hold, endpoint, started_at) = 0",
            "end_has_its_request",
        ),
        CheckConstraint(
            "amount <> 0 OR kind IN ('set', 'charge', 'void') OR asked IS NOT NULL"
            " OR kind = 'adjustment' AND request_id IS NOT NULL",
            "amount_not_zero",
        ),
        CheckConstraint("balance_after IS NOT NULL OR amount = 0", "balance_after_known"),
        CheckConstraint("(kind = 'transfer') = (transfer_id IS NOT NULL)", "transfer_is_named"),
        CheckConstraint("asked IS NULL OR asked < amount AND amount <= 0", "asked_takes_more"),
        # The compare-and-set of the end of a request is the deletion of its open hold; this index
        # finds the end. Several parts of a table could each have their own.
        Index(
            "uq_ledger_one_end_per_request",
            "request_id",
            "account_id",
            unique=True,
            postgresql_where=text(_AN_END),
        ),
        # The compare-and-set of a correction.
        Index(
            "uq_ledger_one_usage_correction_per_request",
            "request_id",
            "account_id",
            unique=True,
            postgresql_where=text(
                "kind = 'adjustment' AND request_id IS NOT NULL AND rates IS NULL"
            ),
        ),
        Index("ix_ledger_account_id_id", "account_id", "id"),
        # Over all accounts. A B-tree would slow down every request; this index has a few pages.
        Index(
            "ix_ledger_created_at",
            "created_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32, "autosummarize": True},
        ),
        Index(
            "uq_ledger_one_entry_per_idempotency_key",
            "account_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # Entries made by people are rare among ends, so requests do not pay for these indexes.
        Index("ix_ledger_not_ends", "kind", "id", postgresql_where=text(_NOT_AN_END)),
        Index(
            "ix_ledger_not_ends_of_account",
            "account_id",
            "kind",
            "id",
            postgresql_where=text(_NOT_AN_END),
        ),
        Index(
            "uq_ledger_transfer",
            "transfer_id",
            "account_id",
            unique=True,
            postgresql_where=text("transfer_id IS NOT NULL"),
        ),
        Index(
            "ix_ledger_after_ends",
            "request_id",
            "account_id",
            postgresql_where=text(_AFTER_AN_END),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it was entered; of a request: when it ended."""
    amount: Mapped[int]
    balance_after: Mapped[int | None]
    """Null only where nothing changed: see above."""
    key_id: Mapped[int | None]
    """Of a request, as are endpoint and model; corrections and rerates repeat them."""
    hold: Mapped[int | None]
    """Credits that were reserved; of ends only, as are the moment it was placed, the estimates and
    the rates."""
    overrun: Mapped[int] = mapped_column(server_default=text("0"))
    """Credits by which the charge exceeded the hold; 0 unless an estimate was too low. Of a
    correction: the difference. Of a rerate 0, and what rerates add is no overrun."""
    total: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens, the upstream's own total. Of a correction: the difference."""
    started_at: Mapped[datetime | None]
    """When the hold was placed; of storage: since when it is charged."""
    estimated_input: Mapped[int | None]
    """Tokens: the ceiling of the input, as estimated before dispatch."""
    estimated_output: Mapped[int | None]
    """Tokens: the most that all choices together may have."""
    output_cap: Mapped[int | None]
    """Part of the trace, which a correction has as well. It is null where another process ended
    the request. What each member says is told by `model.Trace`."""
    asked: Mapped[int | None]
    """The amount that was asked for, where open holds kept a part of it; of storage: what it costs,
    where the balance had less."""
    first_byte_ms: Mapped[int | None] = mapped_column(Integer)
    total_ms: Mapped[int | None] = mapped_column(Integer)
    upstream_status: Mapped[int | None] = mapped_column(SmallInteger)
    estimated: Mapped[bool] = mapped_column(server_default=text("false"))
    """The usage is an estimate; of a correction: the corrected usage; of a rerate: the usage so
    far."""
    streamed: Mapped[bool | None]
    capped: Mapped[bool | None]
    kind: Mapped[str]
    state: Mapped[str | None]
    """How the request ended; null: the row is not the end of a request."""
    request_id: Mapped[str | None] = mapped_column(Text(collation="C"))
    endpoint: Mapped[str | None]
    model: Mapped[str | None]
    actor: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    error_code: Mapped[str | None]
    upstream_request_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    """Chosen by the caller: a second entry with the same key is not made."""
    transfer_id: Mapped[UUID | None]
    """Of a transfer: the same in both accounts."""
    quantities: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))
    """What was used, by kind, as reported by the upstream; kinds of 0 are left out. Of a
    correction: the differences."""
    rates: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    """Credits for one unit of each kind, as exact decimals; null means one credit per token. The
    newest rates of a request are those of its last rerate, else those of its end."""
