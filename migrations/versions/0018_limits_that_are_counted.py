"""Limits are counted, by key and by account; accounts have a time zone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: None = None
depends_on: None = None

_COUNT_LIMITS_OF_KEYS = """
INSERT INTO limits (account_id, subject, name, unit, period, amount)
SELECT k.account_id, 'key:' || k.id, known.name, known.unit, known.period,
       (k.limits ->> known.name)::bigint
  FROM api_keys k,
       (VALUES ('requests_per_minute', 'requests', 'minute'),
               ('tokens_per_minute', 'tokens', 'minute'),
               ('parallel_requests', 'holds', 'open'),
               ('credits_total', 'credits', 'ever')) known (name, unit, period)
 WHERE k.revoked_at IS NULL AND jsonb_typeof(k.limits -> known.name) = 'number'
"""
_NAME_A_VERSION = """
UPDATE api_keys
   SET limits_version = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
 WHERE revoked_at IS NULL AND limits <> '{}'
"""


def upgrade() -> None:
    """Apply. A constant default is kept in the catalogue, so that no row is rewritten.

    Limits that keys have already count from now on: `credits_total` begins with nothing used.
    """
    moment = sa.DateTime(timezone=True)
    nothing = sa.text("'{}'")
    for table, name, kind, default in (
        ("accounts", "limits", postgresql.JSONB(), nothing),
        ("accounts", "time_zone", sa.Text(), sa.text("'UTC'")),
        ("api_keys", "limits_version", sa.BigInteger(), sa.text("0")),
        ("api_keys", "sub_account_limits", postgresql.JSONB(), nothing),
        ("open_holds", "tokens", sa.BigInteger(), sa.text("0")),
    ):
        op.add_column(table, sa.Column(name, kind, server_default=default, nullable=False))
    op.add_column("accounts", sa.Column("next_expiry", moment, nullable=True))
    op.add_column("api_keys", sa.Column("sub_account_from", sa.Text(), nullable=True))
    op.add_column(
        "open_holds", sa.Column("limit_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True)
    )
    op.create_table(
        "limits",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("anchor", moment, nullable=True),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("taken_until", moment, server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("window_start", moment, server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("window_end", moment, server_default=sa.text("'infinity'"), nullable=False),
        sa.Column("used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reserved", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "unit IN ('requests', 'tokens', 'credits', 'holds')", name=op.f("ck_limits_unit_known")
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_limits_amount_not_negative")),
        sa.CheckConstraint(
            "least(used, reserved) >= 0", name=op.f("ck_limits_nothing_is_negative")
        ),
        sa.CheckConstraint("window_start < window_end", name=op.f("ck_limits_window_not_empty")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_limits_account_id")),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_limits")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "uq_limits_subject_name", "limits", ["account_id", "subject", "name"], unique=True
    )
    # Who waits for a limit keeps no credits from others.
    op.drop_constraint(op.f("ck_waiters_wanted_positive"), "waiters")
    op.create_check_constraint(op.f("ck_waiters_wanted_not_negative"), "waiters", "wanted >= 0")
    op.execute(_COUNT_LIMITS_OF_KEYS)
    op.execute(_NAME_A_VERSION)


def downgrade() -> None:
    """Take back; limits are stored with their keys and do nothing then."""
    op.execute("DELETE FROM waiters WHERE wanted = 0")
    op.drop_constraint(op.f("ck_waiters_wanted_not_negative"), "waiters")
    op.create_check_constraint(op.f("ck_waiters_wanted_positive"), "waiters", "wanted > 0")
    op.drop_column("open_holds", "limit_ids")
    op.drop_column("open_holds", "tokens")
    op.drop_table("limits")
    for name in ("sub_account_limits", "sub_account_from", "limits_version"):
        op.drop_column("api_keys", name)
    for name in ("next_expiry", "time_zone", "limits"):
        op.drop_column("accounts", name)
