"""Keep one row for each request that ended, and only requests in progress among the holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: None = None
depends_on: None = None

OLD_KINDS = (
    *("input", "cached_input", "output", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output"),
)
AN_END = "state IS NOT NULL"
NOT_AN_END = "state IS NULL"
TRIGGERS = (
    """
    CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger
    FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change()
    """,
    """
    CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change()
    """,
    # Rows are summed minutes after they were written. If one is written long after its own time,
    # the sums of its day are computed again. The request path only evaluates the condition.
    """
    CREATE TRIGGER ledger_is_late AFTER INSERT ON ledger
    FOR EACH ROW WHEN (NEW.created_at < clock_timestamp() - interval '1 minute'
                       AND NEW.key_id IS NOT NULL)
    EXECUTE FUNCTION note_usage_change()
    """,
)


def upgrade() -> None:
    """Apply."""
    _create_open_holds()
    _create_ledger()
    _create_sums()
    for table in ("ledger_entries", "usage", "holds"):
        op.drop_table(table)


def downgrade() -> None:
    """Take back."""
    raise NotImplementedError


def _create_open_holds() -> None:
    op.create_table(
        "open_holds",
        sa.Column("request_id", sa.Text(collation="C"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        _moment("created_at"),
        _moment("lease_until"),
        _count("known_input"),
        _count("known_output"),
        _count("estimated_input"),
        _count("estimated_output"),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("rates", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(
            "least(amount, known_input, known_output) >= 0",
            name=op.f("ck_open_holds_nothing_is_negative"),
        ),
        sa.PrimaryKeyConstraint("request_id", "account_id", name=op.f("pk_open_holds")),
        postgresql_with={
            "fillfactor": 70,
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 2000,
            "autovacuum_vacuum_insert_threshold": -1,
            "vacuum_truncate": False,
        },
    )


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        _moment("created_at"),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("hold", sa.BigInteger(), nullable=True),
        _count("overrun"),
        _count("total"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("estimated_input", sa.BigInteger(), nullable=True),
        sa.Column("estimated_output", sa.BigInteger(), nullable=True),
        sa.Column("output_cap", sa.BigInteger(), nullable=True),
        sa.Column("asked", sa.BigInteger(), nullable=True),
        sa.Column("first_byte_ms", sa.Integer(), nullable=True),
        sa.Column("total_ms", sa.Integer(), nullable=True),
        sa.Column("upstream_status", sa.SmallInteger(), nullable=True),
        sa.Column("estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("streamed", sa.Boolean(), nullable=True),
        sa.Column("capped", sa.Boolean(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(collation="C"), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("upstream_request_id", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("quantities", postgresql.JSONB(), nullable=True),
        sa.Column("rates", postgresql.JSONB(), nullable=True),
        *_ledger_checks(),
        sa.PrimaryKeyConstraint("id", "account_id", name=op.f("pk_ledger")),
    )
    _create_ledger_indexes()
    for statement in TRIGGERS:
        op.execute(statement)


def _ledger_checks() -> list[sa.CheckConstraint]:
    conditions = {
        "kind_known": (
            "kind IN ('grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'expiry', 'void')"
        ),
        "state_fits_kind": (
            "CASE kind WHEN 'charge' THEN state IN ('settled', 'expired') AND amount <= 0"
            " WHEN 'void' THEN state = 'voided' AND amount = 0 ELSE state IS NULL END"
            " IS TRUE"
        ),
        "end_has_its_request": (
            "state IS NULL OR num_nulls(request_id, key_id, hold, endpoint, started_at) = 0"
        ),
        "amount_not_zero": (
            "amount <> 0 OR kind IN ('set', 'charge', 'void') OR asked IS NOT NULL"
            " OR kind = 'adjustment' AND request_id IS NOT NULL"
        ),
        "balance_after_known": "balance_after IS NOT NULL OR amount = 0",
        "asked_takes_more": "asked IS NULL OR asked < amount AND amount <= 0",
    }
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_ledger_{name}"))
        for name, condition in conditions.items()
    ]


def _create_ledger_indexes() -> None:
    op.create_index(
        "uq_ledger_one_end_per_request",
        "ledger",
        ["request_id", "account_id"],
        unique=True,
        postgresql_where=sa.text(AN_END),
    )
    op.create_index(
        "uq_ledger_one_correction_per_request",
        "ledger",
        ["request_id", "account_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'adjustment' AND request_id IS NOT NULL"),
    )
    op.create_index("ix_ledger_account_id_id", "ledger", ["account_id", "id"])
    op.create_index(
        "ix_ledger_created_at",
        "ledger",
        ["created_at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.create_index(
        "uq_ledger_one_entry_per_idempotency_key",
        "ledger",
        ["account_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    not_an_end = sa.text(NOT_AN_END)
    op.create_index("ix_ledger_not_ends", "ledger", ["kind", "id"], postgresql_where=not_an_end)
    op.create_index(
        "ix_ledger_not_ends_of_account",
        "ledger",
        ["account_id", "kind", "id"],
        postgresql_where=not_an_end,
    )
    op.create_index(
        "ix_ledger_later",
        "ledger",
        ["request_id", "account_id"],
        postgresql_where=sa.text(f"{NOT_AN_END} AND request_id IS NOT NULL"),
    )


def _create_sums() -> None:
    for table in ("usage_days", "usage_totals"):
        for kind in OLD_KINDS:
            op.drop_column(table, kind)
    op.create_table(
        "usage_day_kinds",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account_id", "day", "model", "key_id", "kind", name=op.f("pk_usage_day_kinds")
        ),
    )
    op.create_index("ix_usage_day_kinds_day_account_id", "usage_day_kinds", ["day", "account_id"])
    op.create_table(
        "usage_total_kinds",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "model", "kind", name=op.f("pk_usage_total_kinds")),
    )


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
