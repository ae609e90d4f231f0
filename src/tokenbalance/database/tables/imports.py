"""What an import of users leaves behind: that it was done, and links that set a first password."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs


class WelcomeLink(Base):
    """A link by which a new user sets a password, as SHA-256; deleted when it was used."""

    __tablename__ = "welcome_links"
    __table_args__: TableArgs = (
        CheckConstraint("octet_length(secret_sha256) = 32", "secret_is_sha256"),
        Index("ix_welcome_links_user_id", "user_id"),
    )

    secret_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class UserImport(Base):
    """An import that was carried out; its result, which has secrets, is never stored."""

    __tablename__ = "user_imports"

    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
