"""Objects that the upstream stores have owners."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "objects",
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), server_default=sa.text("'openai'"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("snapshot", sa.Text(), nullable=True),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", moment, nullable=True),
        sa.Column("deleted_at", moment, nullable=True),
        sa.CheckConstraint(
            "length(object_id) BETWEEN 1 AND 512", name=op.f("ck_objects_id_length")
        ),
        sa.PrimaryKeyConstraint("object_id", "kind", "upstream", name=op.f("pk_objects")),
    )
    op.create_index(
        "ix_objects_listed",
        "objects",
        ["account_id", "kind", "created_at", "object_id"],
        postgresql_where=sa.text("deleted_at IS NULL AND kind <> 'item'"),
    )
    op.create_index(
        "ix_objects_parts",
        "objects",
        ["parent_id", "account_id"],
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "ix_objects_expiring",
        "objects",
        ["expires_at"],
        postgresql_where=sa.text("expires_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_index(
        "ix_objects_stored",
        "objects",
        ["account_id"],
        postgresql_where=sa.text("bytes > 0 AND kind IN ('container', 'file', 'vector_store')"),
    )
    op.create_index(
        "ix_objects_created_at",
        "objects",
        ["created_at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )


def downgrade() -> None:
    """Take back; whose object is whose is forgotten."""
    op.drop_table("objects")
