"""Users have tags; an import is done once; new users set their password by a link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply. A constant default is kept in the catalogue, so that no row is rewritten."""
    moment = sa.DateTime(timezone=True)
    op.add_column(
        "users",
        sa.Column(
            "tags", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    op.create_index("ix_users_tags", "users", ["tags"], postgresql_using="gin")
    op.create_table(
        "welcome_links",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.CheckConstraint(
            "octet_length(secret_sha256) = 32", name=op.f("ck_welcome_links_secret_is_sha256")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_welcome_links_user_id")),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_welcome_links")),
    )
    op.create_index("ix_welcome_links_user_id", "welcome_links", ["user_id"])
    op.create_table(
        "user_imports",
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("idempotency_key", name=op.f("pk_user_imports")),
    )


def downgrade() -> None:
    """Take back; tags and links that were not used are lost."""
    op.drop_table("user_imports")
    op.drop_table("welcome_links")
    op.drop_index("ix_users_tags", "users")
    op.drop_column("users", "tags")
