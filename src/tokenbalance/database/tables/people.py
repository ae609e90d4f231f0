"""Users, their accounts and keys, and where and how they signed in or failed to."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tokenbalance.database.tables.base import Base, TableArgs, one_of
from tokenbalance.model import SCOPES, Scope

ACCOUNT_KINDS = ("personal", "team")
KEY_KINDS = ("key", "sign-in")
SIGN_IN_WAYS = ("browser", "api")
INSUFFICIENT_STATUSES = (402, 429)


class User(Base):
    """Who signs in; owns keys. Disabled, never deleted: the ledger keeps its owner."""

    __tablename__ = "users"
    __table_args__: TableArgs = (
        CheckConstraint("position('@' in email) > 1", "email_has_at"),
        Index("uq_users_email_lower", func.lower(text("email")), unique=True),
        Index("ix_users_tags", "tags", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    email: Mapped[str]
    name: Mapped[str] = mapped_column(server_default="")
    password_hash: Mapped[str | None]
    is_superuser: Mapped[bool] = mapped_column(server_default=text("false"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_sign_in_at: Mapped[datetime | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Words by which users are found and handled together; sorted, each once."""

    account: Mapped[Account] = relationship(back_populates="user", lazy="raise")


class Account(Base):
    """Who pays: a user alone, or a team.

    `balance` is the sum of its ledger entries, `held` of its open holds.
    """

    __tablename__ = "accounts"
    __table_args__: TableArgs = (
        CheckConstraint("held >= 0", "held_not_negative"),
        CheckConstraint("overdraft >= 0", "overdraft_not_negative"),
        CheckConstraint(one_of("kind", ACCOUNT_KINDS), "kind_known"),
        CheckConstraint(
            "CASE kind WHEN 'team' THEN user_id IS NULL AND name <> '' ELSE user_id IS NOT NULL"
            " AND name = '' AND closed_at IS NULL END",
            "kind_fits",
        ),
        Index(
            "ix_accounts_next_expiry",
            "next_expiry",
            postgresql_where=text("next_expiry IS NOT NULL"),
        ),
        Index("ix_accounts_teams", "id", postgresql_where=text("kind = 'team'")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), unique=True)
    """Whose it is; null: a team's."""
    balance: Mapped[int] = mapped_column(server_default=text("0"))
    held: Mapped[int] = mapped_column(server_default=text("0"))
    overdraft: Mapped[int] = mapped_column(server_default=text("0"))
    """How far below zero holds may take the balance."""
    limits: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny] - any JSON
        JSONB, server_default=text("'{}'")
    )
    """Of all its requests together, set by a superuser; an absent limit means unlimited."""
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    """IANA name: where its days, weeks and months begin."""
    next_expiry: Mapped[datetime | None]
    """When the next of its grants ends or its next allowance is due; null: none does. No hold is
    placed at or after it before that is entered."""
    alert_below: Mapped[int | None]
    """The highest threshold that is armed: a trigger compares the balance with it."""
    alert_rearm_at: Mapped[int | None]
    """The lowest threshold that was crossed; a balance of so much arms it again."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str] = mapped_column(server_default="personal")
    name: Mapped[str] = mapped_column(server_default="")
    """Of a team; empty: a user's, who has a name."""
    closed_at: Mapped[datetime | None]
    """When a team was deleted: its keys are suspended for ever."""

    user: Mapped[User] = relationship(back_populates="account", lazy="raise")


class ApiKey(Base):
    """The secret that a caller shows: its SHA-256 and a short display prefix, never itself.

    The sign-in token issued for a password is one too, with a kind of its own.

    A trigger enters the user of a personal account: whoever makes a key of it need not.
    """

    __tablename__ = "api_keys"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(secret_sha256) = 32", "secret_is_sha256"),
        CheckConstraint(one_of("kind", KEY_KINDS), "kind_known"),
        CheckConstraint("jsonb_typeof(limits) = 'object'", "limits_are_an_object"),
        CheckConstraint(
            one_of("insufficient_status", INSUFFICIENT_STATUSES), "insufficient_status_known"
        ),
        CheckConstraint(
            f"cardinality(scopes) > 0 AND scopes <@ '{{{','.join(SCOPES)}}}'", "scopes_known"
        ),
        CheckConstraint("kind <> 'sign-in' OR user_id IS NOT NULL", "token_is_a_users"),
        ForeignKeyConstraint(["account_id", "project_id"], ["projects.account_id", "projects.id"]),
        Index("ix_api_keys_account_id", "account_id"),
        Index(
            "ix_api_keys_made_by_key_id",
            "made_by_key_id",
            postgresql_where=text("made_by_key_id IS NOT NULL"),
        ),
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
    limits: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny] - any JSON
        JSONB, server_default=text("'{}'")
    )
    """Set by its owner; an absent limit means unlimited."""
    limits_version: Mapped[int] = mapped_column(server_default=text("0"))
    """Of all limits that bind it, its own or others': new with each change of them, 0 if there are
    none. A hold is only placed for the version that its request was checked against."""
    sub_account_from: Mapped[str | None]
    """Where a request names the end user on whose behalf it is sent; null: it may name nobody."""
    sub_account_limits: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny] - any JSON
        JSONB, server_default=text("'{}'")
    )
    """Of each end user; as those of a key."""
    insufficient_status: Mapped[int | None]
    """The status of a request that the balance does not cover; null for the operator's setting."""
    force_store_false: Mapped[bool] = mapped_column(server_default=text("false"))
    """Its responses and chats are sent with `store: false`, whatever they ask for."""
    scopes: Mapped[list[Scope]] = mapped_column(
        ARRAY(Text), server_default=text(f"'{{{','.join(SCOPES)}}}'")
    )
    """What it may be used for; all of it where nothing is said, as before there were scopes."""
    made_by_key_id: Mapped[int | None] = mapped_column(ForeignKey("api_keys.id"))
    """The key with which it was made, with which it ends; null if a person made it. Never changes,
    and is always smaller than its own id."""
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """Who answers for it, and without whom it does not work; null: a service key of a team."""
    project_id: Mapped[int | None]
    is_suspended: Mapped[bool] = mapped_column(server_default=text("false"))
    """Refused until it is false again. Of a key of a team only: its member is disabled or has left,
    its project is archived, or the team is closed."""


class SignIn(Base):
    """How a sign-in token came about, by which its owner recognises it.

    Only for tokens that still work: rows of others are removed at the next sign-in.
    """

    __tablename__ = "sign_ins"
    __table_args__: TableArgs = (
        CheckConstraint(one_of("via", SIGN_IN_WAYS), "via_known"),
        Index("ix_sign_ins_account_id", "account_id"),
    )

    token_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    via: Mapped[str]
    agent: Mapped[str]
    """Program and system, such as `Firefox on Linux`; empty if unknown."""
    address: Mapped[str]


class KnownBrowser(Base):
    """A browser in which a user has signed in: others' failures do not slow it down.

    It has a random secret in a cookie, which is no proof of who uses it.
    """

    __tablename__ = "known_browsers"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(secret_sha256) = 32", "secret_is_sha256"),
        UniqueConstraint("user_id", "secret_sha256"),
        Index("ix_known_browsers_secret_sha256", "secret_sha256"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    secret_sha256: Mapped[bytes]
    """One browser has the same for every user who has signed in there."""
    last_sign_in_at: Mapped[datetime]


class SignInFailures(Base):
    """Recent failed sign-ins, of an e-mail, an address, both, or a browser; they slow the next one.

    Unlogged: a crash of the database resets the counts.
    """

    __tablename__ = "sign_in_failures"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(subject_sha256) = 32", "subject_is_sha256"),
        CheckConstraint("failures >= 0", "failures_not_negative"),
        Index("ix_sign_in_failures_email_sha256", "email_sha256"),
        {"prefixes": ["UNLOGGED"]},
    )

    subject_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    """Hash of what is counted, so that neither e-mails nor addresses can be read here."""
    email_sha256: Mapped[bytes | None]
    """Hash of the e-mail in lower case, to end its counts; null for an address alone."""
    failures: Mapped[int]
    last_at: Mapped[datetime]
    next_at: Mapped[datetime]
    """An earlier attempt is refused without checking the password."""
