"""Add leases and waiters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "holds",
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )
    for column in ("known_input", "known_output"):
        op.add_column(
            "holds",
            sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        )
    op.create_check_constraint(
        op.f("ck_holds_known_not_negative"), "holds", "least(known_input, known_output) >= 0"
    )
    op.create_table(
        "books",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_books_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_books")),
        sa.UniqueConstraint("single", name=op.f("uq_books_single")),
    )
    op.execute("INSERT INTO books DEFAULT VALUES")
    op.add_column("usage", sa.Column("corrected_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "waiters",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("wanted", sa.BigInteger(), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("wanted > 0", name=op.f("ck_waiters_wanted_positive")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_waiters_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "position", name=op.f("pk_waiters")),
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("waiters")
    op.drop_column("usage", "corrected_at")
    op.drop_table("books")
    op.drop_constraint(op.f("ck_holds_known_not_negative"), "holds")
    op.drop_column("holds", "known_output")
    op.drop_column("holds", "known_input")
    op.drop_column("holds", "lease_until")
