"""Grants may have an end; allowances issue one each period."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: None = None
depends_on: None = None

_MOMENT = sa.DateTime(timezone=True)
_NUMBER = sa.BigInteger()
_NUMBERS = postgresql.ARRAY(sa.BigInteger())
_NOTHING = sa.text("0")


def upgrade() -> None:
    """Apply. Accounts get rows with their first grant that has an end, so none is written here."""
    op.create_table(
        "allowances",
        _account("allowances"),
        sa.Column("id", _NUMBER, sa.Identity(always=True), nullable=False),
        sa.Column("amount", _NUMBER, nullable=False),
        sa.Column("every", sa.Text(), nullable=False),
        sa.Column("starts_at", _MOMENT, nullable=True),
        sa.Column("ends_at", _MOMENT, nullable=True),
        sa.Column("rollover_max", _NUMBER, server_default=_NOTHING, nullable=False),
        sa.Column("next_at", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("removed_at", _MOMENT, nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        _check("allowances", "amount_positive", "amount > 0"),
        _check("allowances", "rollover_not_negative", "rollover_max >= 0"),
        _check("allowances", "every_known", "every IN ('day', 'week', 'month')"),
        _check("allowances", "removed_issues_nothing", "removed_at IS NULL OR next_at IS NULL"),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_allowances")),
    )
    op.create_table(
        "grants",
        _account("grants"),
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("amount", _NUMBER, nullable=False),
        sa.Column("carried", _NUMBER, server_default=_NOTHING, nullable=False),
        sa.Column("remaining", _NUMBER, nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("50"), nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=True),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("allowance_id", _NUMBER, nullable=True),
        sa.Column("period_start", _MOMENT, nullable=True),
        sa.Column(
            "created_at", _MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        _check("grants", "amount_positive", "amount > 0"),
        _check("grants", "remaining_is_a_part", "remaining BETWEEN 0 AND amount"),
        _check("grants", "priority_in_range", "priority BETWEEN 0 AND 100"),
        _check(
            "grants",
            "period_is_of_an_allowance",
            "(allowance_id IS NULL) = (period_start IS NULL)",
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "allowance_id"],
            ["allowances.account_id", "allowances.id"],
            name=op.f("fk_grants_account_id_allowance_id"),
        ),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_grants")),
    )
    op.create_index(
        "uq_grants_one_per_period",
        "grants",
        ["account_id", "allowance_id", "period_start"],
        unique=True,
        postgresql_where=sa.text("allowance_id IS NOT NULL"),
    )
    op.create_table(
        "burns",
        _account("burns"),
        sa.Column("up_to", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("entries_after", _NUMBER, nullable=False),
        sa.Column("balance_before", _NUMBER, nullable=False),
        sa.Column("balance_after", _NUMBER, nullable=False),
        sa.Column("is_plain", sa.Boolean(), nullable=False),
        sa.Column("grants", _NUMBERS, nullable=False),
        sa.Column("amounts", _NUMBERS, nullable=False),
        _check("burns", "range_not_empty", "entries_after < up_to OR up_to = 0"),
        _check("burns", "each_grant_has_its_amount", "cardinality(grants) = cardinality(amounts)"),
        sa.PrimaryKeyConstraint("account_id", "up_to", name=op.f("pk_burns")),
    )
    op.create_index(
        "ix_accounts_next_expiry",
        "accounts",
        ["next_expiry"],
        postgresql_where=sa.text("next_expiry IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back; balances stay as they are, and what remains of grants no longer ends."""
    op.drop_index("ix_accounts_next_expiry", "accounts")
    op.execute("UPDATE accounts SET next_expiry = NULL WHERE next_expiry IS NOT NULL")
    for table in ("burns", "grants", "allowances"):
        op.drop_table(table)


def _account(table: str) -> sa.Column[int]:
    return sa.Column(
        "account_id",
        _NUMBER,
        sa.ForeignKey("accounts.id", name=op.f(f"fk_{table}_account_id")),
        nullable=False,
    )


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
