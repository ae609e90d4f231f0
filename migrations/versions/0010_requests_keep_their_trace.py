"""Let requests keep how they went, and count refusals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: None = None
depends_on: None = None

TRACE: tuple[tuple[str, sa.types.TypeEngine[object]], ...] = (
    ("upstream_status", sa.SmallInteger()),
    ("error_code", sa.Text()),
    ("upstream_request_id", sa.Text()),
    ("first_byte_ms", sa.Integer()),
    ("total_ms", sa.Integer()),
    ("streamed", sa.Boolean()),
    ("output_cap", sa.BigInteger()),
    ("capped", sa.Boolean()),
)


def upgrade() -> None:
    """Apply."""
    # Nullable and without a default: no row is rewritten.
    for name, kind in TRACE:
        op.add_column("holds", sa.Column(name, kind, nullable=True))
    op.create_table(
        "refusals",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("count > 0", name=op.f("ck_refusals_count_positive")),
        sa.PrimaryKeyConstraint("account_id", "day", "key_id", "code", name=op.f("pk_refusals")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("refusals")
    for name, _ in reversed(TRACE):
        op.drop_column("holds", name)
