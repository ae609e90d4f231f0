"""Objects that the upstream stores, and whose they are."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - SQLAlchemy reads the annotations
from typing import Final

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tokenbalance.database.tables.base import Base, TableArgs

STORED: Final = "bytes > 0 AND kind IN ('container', 'file', 'vector_store')"
"""What storage is charged for."""


class StoredObject(Base):
    """One object that the upstream stores under an id, and the account that it belongs to.

    Without foreign keys, which would lock accounts and keys; neither is ever deleted. A row is kept
    when its object is deleted, so that its id can never become somebody else's.
    """

    __tablename__ = "objects"
    __table_args__: TableArgs = (
        CheckConstraint("length(object_id) BETWEEN 1 AND 512", "id_length"),
        Index(
            "ix_objects_listed",
            "account_id",
            "kind",
            "created_at",
            "object_id",
            postgresql_where=text("deleted_at IS NULL AND kind <> 'item'"),
        ),
        Index(
            "ix_objects_parts",
            "parent_id",
            "account_id",
            postgresql_where=text("parent_id IS NOT NULL"),
        ),
        Index(
            "ix_objects_expiring",
            "expires_at",
            postgresql_where=text("expires_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index("ix_objects_stored", "account_id", postgresql_where=text(STORED)),
        # Of all that was ever made: a B-tree would slow down every response; this has a few pages.
        Index(
            "ix_objects_created_at",
            "created_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32, "autosummarize": True},
        ),
    )

    object_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    upstream: Mapped[str] = mapped_column(primary_key=True, server_default=text("'openai'"))
    account_id: Mapped[int]
    key_id: Mapped[int | None]
    """The key whose request made it; null where an operator adopted it."""
    parent_id: Mapped[str | None]
    """The object that it is part of."""
    state: Mapped[str | None]
    """The upstream's status of it, as far as it was seen."""
    bytes: Mapped[int | None]
    tokens: Mapped[int | None]
    """The most that a request which continues it reads again; null: not known."""
    snapshot: Mapped[str | None]
    """The object as the upstream described it last, as JSON: with its members in their order, and
    with characters that Postgres' own types of JSON cannot hold."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    busy_by: Mapped[str | None]
    """The request that adds to it; null: none does."""
    busy_until: Mapped[datetime | None]
    """When that one has it no more, unless it says otherwise."""
