"""The schema, as SQLAlchemy sees it. Migrations make it so; `alembic check` proves they agree.

Constraints are part of the design: a state that must not be cannot be written. Every table that
the request path touches is keyed by `account_id` first, so that it can be distributed by it.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.schema import SchemaItem

HOLD_STATES = ("open", "settled", "voided", "expired")
ENTRY_KINDS = ("grant", "top-up", "set", "charge", "refund", "adjustment", "expiry")
KEY_KINDS = ("key", "sign-in")
INSUFFICIENT_STATUSES = (402, 429)


TableArgs: TypeAlias = tuple[SchemaItem | dict[str, list[str]], ...]


def _one_of(column: str, values: tuple[str, ...] | tuple[int, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can find them again."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {  # pyright: ignore[reportExplicitAny]
        int: BigInteger,
        str: Text,
        bool: Boolean,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        UUID: Uuid,
    }


class Books(Base):
    """Which books these are, in one row: a journal must not be applied to others."""

    __tablename__ = "books"
    __table_args__: TableArgs = (CheckConstraint("single", "single_row"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    single: Mapped[bool] = mapped_column(unique=True, server_default=text("true"))


class User(Base):
    """Who signs in; owns keys. Disabled, never deleted: the ledger keeps its owner."""

    __tablename__ = "users"
    __table_args__: TableArgs = (
        CheckConstraint("position('@' in email) > 1", "email_has_at"),
        Index("uq_users_email_lower", func.lower(text("email")), unique=True),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    email: Mapped[str]
    name: Mapped[str] = mapped_column(server_default="")
    password_hash: Mapped[str | None]
    is_superuser: Mapped[bool] = mapped_column(server_default=text("false"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_sign_in_at: Mapped[datetime | None]

    account: Mapped[Account] = relationship(back_populates="user", lazy="raise")


class Account(Base):
    """Who pays. `balance` is the sum of its ledger entries, `held` of its open holds."""

    __tablename__ = "accounts"
    __table_args__: TableArgs = (
        CheckConstraint("held >= 0", "held_not_negative"),
        CheckConstraint("overdraft >= 0", "overdraft_not_negative"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), unique=True)
    balance: Mapped[int] = mapped_column(server_default=text("0"))
    held: Mapped[int] = mapped_column(server_default=text("0"))
    overdraft: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped[User] = relationship(back_populates="account", lazy="raise")

    @property
    def available(self) -> int:
        """Credits that no open hold reserves."""
        return self.balance - self.held


class ApiKey(Base):
    """The secret that a caller shows: its SHA-256 and a short display prefix, never itself.

    What somebody gets for a password, a sign-in token, is one too, of its own kind.
    """

    __tablename__ = "api_keys"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(secret_sha256) = 32", "secret_is_sha256"),
        CheckConstraint(_one_of("kind", KEY_KINDS), "kind_known"),
        CheckConstraint("jsonb_typeof(limits) = 'object'", "limits_are_an_object"),
        CheckConstraint(
            _one_of("insufficient_status", INSUFFICIENT_STATUSES), "insufficient_status_known"
        ),
        Index("ix_api_keys_account_id", "account_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[str] = mapped_column(server_default="key")
    name: Mapped[str] = mapped_column(server_default="")
    prefix: Mapped[str]
    secret_sha256: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    limits: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny]
        JSONB, server_default=text("'{}'")
    )
    """What its owner set; absent means unlimited."""
    insufficient_status: Mapped[int | None]
    """What a request is answered that the balance does not cover; null: as the operator says."""


class SignInFailures(Base):
    """How often signing in has failed of late, by e-mail and by address; slows the next attempt.

    Unlogged: after a crash of the database everybody begins anew.
    """

    __tablename__ = "sign_in_failures"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(subject_sha256) = 32", "subject_is_sha256"),
        CheckConstraint("failures >= 0", "failures_not_negative"),
        {"prefixes": ["UNLOGGED"]},
    )

    subject_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    """Of the e-mail in lower case, or of the address: neither can be read here."""
    failures: Mapped[int]
    last_at: Mapped[datetime]
    next_at: Mapped[datetime]
    """Before this another attempt is refused unseen."""


class HoldRecord(Base):
    """Credits reserved for one request. Open once; settled, voided or expired once."""

    __tablename__ = "holds"
    __table_args__: TableArgs = (
        CheckConstraint("amount > 0", "amount_positive"),
        CheckConstraint(_one_of("state", HOLD_STATES), "state_known"),
        CheckConstraint("(state = 'open') = (ended_at IS NULL)", "ended_iff_not_open"),
        CheckConstraint("least(known_input, known_output) >= 0", "known_not_negative"),
        Index(
            "ix_holds_open",
            "account_id",
            "request_id",
            postgresql_where=text("state = 'open'"),
        ),
        # Of every account at once: ids sort by time.
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
    """Until then its process answers for it; later the sweep may end it."""
    known_input: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens that are known to be used if the process should be gone: first the estimate of the
    input, later what was counted."""
    known_output: Mapped[int] = mapped_column(server_default=text("0"))
    estimated_input: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens: the ceiling of the input, as first estimated."""
    estimated_output: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens: the most that all choices together were asked to be."""
    rates: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    """Credits for one unit of each kind, as exact decimals; null: a credit a token."""


class Waiter(Base):
    """A request that waits for open holds of its account, in the order of arrival.

    Unlogged: after a crash of the database nobody waits any more.
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
    """Until then its process is taken to be there; renewed while it waits."""


class LedgerEntry(Base):
    """One change of a balance; append-only, which a trigger enforces."""

    __tablename__ = "ledger_entries"
    __table_args__: TableArgs = (
        ForeignKeyConstraint(
            ["account_id", "request_id"], ["holds.account_id", "holds.request_id"]
        ),
        CheckConstraint(_one_of("kind", ENTRY_KINDS), "kind_known"),
        CheckConstraint("amount <> 0 OR kind IN ('set', 'charge')", "amount_not_zero"),
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
        # What people enter is rare among charges, and no request pays for these.
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
    """Chosen by who made the entry: asking again with the same one enters nothing."""


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
        # Of every account at once. A B-tree would cost each request; this is a few pages.
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
    """When the true usage replaced what an expired hold was charged, once."""


class UsageSums:
    """Columns of tables that sum up usage: tokens by kind, credits, and numbers of requests."""

    requests: Mapped[int] = mapped_column(server_default=text("0"))
    input: Mapped[int] = mapped_column(server_default=text("0"))
    cached_input: Mapped[int] = mapped_column(server_default=text("0"))
    output: Mapped[int] = mapped_column(server_default=text("0"))
    reasoning: Mapped[int] = mapped_column(server_default=text("0"))
    audio_input: Mapped[int] = mapped_column(server_default=text("0"))
    audio_output: Mapped[int] = mapped_column(server_default=text("0"))
    image_input: Mapped[int] = mapped_column(server_default=text("0"))
    image_output: Mapped[int] = mapped_column(server_default=text("0"))
    total: Mapped[int] = mapped_column(server_default=text("0"))
    charge: Mapped[int] = mapped_column(server_default=text("0"))
    overrun: Mapped[int] = mapped_column(server_default=text("0"))
    overruns: Mapped[int] = mapped_column(server_default=text("0"))
    estimated: Mapped[int] = mapped_column(server_default=text("0"))


class UsageDay(UsageSums, Base):
    """What a key used of a model on one day (UTC), as far as it is summed: see `UsageSummed`."""

    __tablename__ = "usage_days"
    __table_args__: TableArgs = (Index("ix_usage_days_day_account_id", "day", "account_id"),)

    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    """Empty for requests that named none."""
    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class UsageTotal(UsageSums, Base):
    """What everybody used of a model on one day (UTC), as far as it is summed."""

    __tablename__ = "usage_totals"

    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    voided: Mapped[int] = mapped_column(server_default=text("0"))
    """Requests that arrived on this day and cost nothing."""


class UsageSummed(Base):
    """How far usage is summed, in one row: all before this, but for the days of `UsageChange`."""

    __tablename__ = "usage_summed"
    __table_args__: TableArgs = (CheckConstraint("single", "single_row"),)

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    until: Mapped[datetime]


class UsageChange(Base):
    """A day whose usage has changed since, or after its end; its sums are wrong until made anew.

    A trigger writes it, in the transaction of the change.
    """

    __tablename__ = "usage_changes"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    day: Mapped[date]


class TopAccount(Base):
    """One of those who used most in the last so many days, as far as they were summed."""

    __tablename__ = "top_accounts"

    days: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
