"""Add sign-in tokens, limits of keys, rates of holds, and idempotent credits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    op.add_column("users", sa.Column("last_sign_in_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("kind", sa.Text(), server_default="key", nullable=False))
    op.add_column(
        "api_keys", sa.Column("limits", JSONB(), server_default=sa.text("'{}'"), nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_api_keys_kind_known"), "api_keys", "kind IN ('key', 'sign-in')"
    )
    op.create_check_constraint(
        op.f("ck_api_keys_limits_are_an_object"), "api_keys", "jsonb_typeof(limits) = 'object'"
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("subject_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "octet_length(subject_sha256) = 32",
            name=op.f("ck_sign_in_failures_subject_is_sha256"),
        ),
        sa.CheckConstraint("failures >= 0", name=op.f("ck_sign_in_failures_failures_not_negative")),
        sa.PrimaryKeyConstraint("subject_sha256", name=op.f("pk_sign_in_failures")),
        prefixes=["UNLOGGED"],
    )
    op.create_index("ix_holds_request_id", "holds", ["request_id"], unique=False)
    for column in ("estimated_input", "estimated_output"):
        op.add_column(
            "holds",
            sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        )
    op.add_column("holds", sa.Column("rates", JSONB(), nullable=True))
    op.add_column("ledger_entries", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.create_index(
        "uq_ledger_entries_one_entry_per_idempotency_key",
        "ledger_entries",
        ["account_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    for column in ("image_input", "image_output"):
        op.add_column(
            "usage",
            sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        )
    op.create_check_constraint(
        op.f("ck_usage_images_not_negative"), "usage", "least(image_input, image_output) >= 0"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("usage", "image_output")
    op.drop_column("usage", "image_input")
    op.drop_index("uq_ledger_entries_one_entry_per_idempotency_key", table_name="ledger_entries")
    op.drop_column("ledger_entries", "idempotency_key")
    op.drop_column("holds", "rates")
    op.drop_column("holds", "estimated_output")
    op.drop_column("holds", "estimated_input")
    op.drop_index("ix_holds_request_id", table_name="holds")
    op.drop_table("sign_in_failures")
    op.drop_column("api_keys", "limits")
    op.drop_column("api_keys", "kind")
    op.drop_column("users", "last_sign_in_at")
