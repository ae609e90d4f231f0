"""Who belongs to a team, in which role, and what its keys are grouped by."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs, one_of

TEAM_ROLES: Final = ("viewer", "member", "admin", "owner")
"""The higher the later."""


class Membership(Base):
    """A user of a team. The row of who has left is gone: keys and the ledger keep the name."""

    __tablename__ = "memberships"
    __table_args__: TableArgs = (
        CheckConstraint(one_of("role", TEAM_ROLES), "role_known"),
        Index("ix_memberships_user_id", "user_id"),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str]
    limits: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny] - any JSON
        JSONB, server_default=text("'{}'")
    )
    """Of all the member's keys of the team together; as those of a key."""
    joined_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    """Until it is null again, the member's keys of the team are suspended."""


class Project(Base):
    """Keys of a team that belong together."""

    __tablename__ = "projects"
    __table_args__: TableArgs = (
        Index("uq_projects_name", "account_id", func.lower(text("name")), unique=True),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    limits: Mapped[dict[str, Any]] = mapped_column(  # pyright: ignore[reportExplicitAny] - any JSON
        JSONB, server_default=text("'{}'")
    )
    """Of all its keys together; as those of a key."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    archived_at: Mapped[datetime | None]
    """Until it is null again, its keys are suspended."""


class Invitation(Base):
    """A link by which somebody joins a team, as SHA-256; deleted when it was used or withdrawn."""

    __tablename__ = "invitations"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(secret_sha256) = 32", "secret_is_sha256"),
        CheckConstraint(one_of("role", TEAM_ROLES), "role_known"),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(unique=True)
    email: Mapped[str | None]
    """Nobody else can use it; null: whoever has it."""
    role: Mapped[str]
    created_by: Mapped[str]
    """The actor's name."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
