"""Add sums of usage by day, and what keeps them right."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: None = None
depends_on: None = None

SUMS = (
    *("requests", "input", "cached_input", "output", "reasoning", "audio_input", "audio_output"),
    *("image_input", "image_output", "total", "charge", "overrun", "overruns", "estimated"),
)

# Usage is summed minutes after it was written. If a row changes later, or is written long after its
# own time, the sums of its day are computed again. The request path fires neither trigger: it only
# inserts, at once, and the condition is evaluated without calling the function.
CHANGES = (
    """
    CREATE FUNCTION note_usage_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO usage_changes (day) VALUES ((NEW.created_at AT TIME ZONE 'UTC')::date);
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER usage_changed AFTER UPDATE ON usage
    FOR EACH ROW EXECUTE FUNCTION note_usage_change()
    """,
    """
    CREATE TRIGGER usage_is_late AFTER INSERT ON usage
    FOR EACH ROW WHEN (NEW.created_at < clock_timestamp() - interval '1 minute')
    EXECUTE FUNCTION note_usage_change()
    """,
)


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_usage_created_at",
        "usage",
        ["created_at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    not_a_charge = sa.text("kind <> 'charge'")
    op.create_index(
        "ix_ledger_entries_not_charges",
        "ledger_entries",
        ["kind", "id"],
        postgresql_where=not_a_charge,
    )
    op.create_index(
        "ix_ledger_entries_not_charges_of_account",
        "ledger_entries",
        ["account_id", "kind", "id"],
        postgresql_where=not_a_charge,
    )
    op.create_table(
        "usage_days",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        *_sums(),
        sa.PrimaryKeyConstraint("account_id", "day", "model", "key_id", name=op.f("pk_usage_days")),
    )
    op.create_index("ix_usage_days_day_account_id", "usage_days", ["day", "account_id"])
    op.create_table(
        "usage_totals",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        *_sums(),
        sa.Column("voided", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("day", "model", name=op.f("pk_usage_totals")),
    )
    op.create_table(
        "usage_summed",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_usage_summed_single_row")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_usage_summed")),
    )
    op.execute("INSERT INTO usage_summed (until) VALUES ('1970-01-01 00:00:00+00')")
    op.create_table(
        "usage_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_changes")),
    )
    op.create_table(
        "top_accounts",
        sa.Column("days", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("days", "account_id", name=op.f("pk_top_accounts")),
    )
    for statement in CHANGES:
        op.execute(statement)


def downgrade() -> None:
    """Take back."""
    op.execute("DROP TRIGGER usage_is_late ON usage")
    op.execute("DROP TRIGGER usage_changed ON usage")
    op.execute("DROP FUNCTION note_usage_change()")
    for table in ("top_accounts", "usage_changes", "usage_summed", "usage_totals", "usage_days"):
        op.drop_table(table)
    op.drop_index("ix_ledger_entries_not_charges_of_account", table_name="ledger_entries")
    op.drop_index("ix_ledger_entries_not_charges", table_name="ledger_entries")
    op.drop_index("ix_usage_created_at", table_name="usage")


def _sums() -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        for name in SUMS
    ]
