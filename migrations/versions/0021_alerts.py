"""Alerts are written in the transaction in which they happen, and delivered from there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: None = None
depends_on: None = None

# Whatever changes a balance crosses its thresholds in the same transaction. The condition of the
# trigger needs nothing but the row: an account without thresholds, or between two of them, pays for
# a comparison. Its function writes the row once more, without the balance, so it calls itself no
# further. The account is locked by the change, so two changes cannot cross a threshold at once.
_WHEN_A_BALANCE_CROSSES = """
CREATE FUNCTION alert_of_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH crossed AS (
        UPDATE alert_thresholds
           SET is_armed = false
         WHERE account_id = NEW.id AND is_armed AND below > NEW.balance
        RETURNING below
    )
    INSERT INTO alerts (account_id, event, data)
    SELECT NEW.id, CASE WHEN below = 1 THEN 'balance.empty' ELSE 'balance.low' END,
           jsonb_build_object('balance', NEW.balance, 'below', below)
      FROM crossed
     ORDER BY below DESC;
    UPDATE alert_thresholds
       SET is_armed = true
     WHERE account_id = NEW.id AND NOT is_armed AND below <= NEW.balance;
    UPDATE accounts
       SET alert_below = (SELECT max(below)
                            FROM alert_thresholds
                           WHERE account_id = NEW.id AND is_armed),
           alert_rearm_at = (SELECT min(below)
                               FROM alert_thresholds
                              WHERE account_id = NEW.id AND NOT is_armed)
     WHERE id = NEW.id;
    RETURN NULL;
END $$
"""
_BALANCE_TRIGGER = """
CREATE TRIGGER balance_crosses_threshold AFTER UPDATE OF balance ON accounts
    FOR EACH ROW WHEN (NEW.balance < NEW.alert_below OR NEW.balance >= NEW.alert_rearm_at)
    EXECUTE FUNCTION alert_of_balance()
"""
# Rates and requests in progress come and go: only what is used up for a while is told.
_WHEN_A_LIMIT_IS_REACHED = """
CREATE FUNCTION alert_of_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alerts (account_id, event, data, once)
    VALUES (NEW.account_id, 'budget.reached',
            jsonb_build_object('subject', NEW.subject, 'limit', NEW.name, 'unit', NEW.unit,
                               'amount', NEW.amount, 'used', NEW.used,
                               'resets_at', CASE WHEN isfinite(NEW.window_end)
                                                 THEN to_jsonb(NEW.window_end) END),
            'limit ' || NEW.id || ' ' || NEW.window_start::text || ' ' || NEW.amount)
    ON CONFLICT (once) WHERE once IS NOT NULL DO NOTHING;
    RETURN NULL;
END $$
"""
_LIMIT_TRIGGER = """
CREATE TRIGGER limit_is_reached AFTER UPDATE OF used ON limits
    FOR EACH ROW WHEN (NEW.used >= NEW.amount AND OLD.used < NEW.amount)
    EXECUTE FUNCTION alert_of_limit()
"""


def upgrade() -> None:
    """Apply. Columns that may be null have no values to write."""
    moment = sa.DateTime(timezone=True)
    op.add_column("accounts", sa.Column("alert_below", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("alert_rearm_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "alert_thresholds",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.Column("is_armed", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("below > 0", name=op.f("ck_alert_thresholds_below_positive")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_alert_thresholds_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "below", name=op.f("pk_alert_thresholds")),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("once", sa.Text(), nullable=True),
        sa.Column("is_addressed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at", moment, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_alerts_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_once",
        "alerts",
        ["once"],
        unique=True,
        postgresql_where=sa.text("once IS NOT NULL"),
    )
    op.create_index("ix_alerts_account_id_id", "alerts", ["account_id", "id"])
    op.create_index(
        "ix_alerts_unsent", "alerts", ["id"], postgresql_where=sa.text("NOT is_addressed")
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column(
            "events", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_webhooks_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_account_id", "webhooks", ["account_id"])
    op.create_table(
        "alert_deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("done_at", moment, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "num_nulls(webhook_id, email) = 1", name=op.f("ck_alert_deliveries_one_receiver")
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"],
            ["alerts.id"],
            name=op.f("fk_alert_deliveries_alert_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_alert_deliveries_webhook_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_deliveries")),
    )
    op.create_index(
        "ix_alert_deliveries_next_at",
        "alert_deliveries",
        ["next_at"],
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_index("ix_alert_deliveries_alert_id", "alert_deliveries", ["alert_id"])
    for statement in (
        _WHEN_A_BALANCE_CROSSES,
        _BALANCE_TRIGGER,
        _WHEN_A_LIMIT_IS_REACHED,
        _LIMIT_TRIGGER,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Take back; nobody is told of anything then."""
    op.execute("DROP TRIGGER limit_is_reached ON limits")
    op.execute("DROP FUNCTION alert_of_limit()")
    op.execute("DROP TRIGGER balance_crosses_threshold ON accounts")
    op.execute("DROP FUNCTION alert_of_balance()")
    for table in ("alert_deliveries", "webhooks", "alerts", "alert_thresholds"):
        op.drop_table(table)
    op.drop_column("accounts", "alert_rearm_at")
    op.drop_column("accounts", "alert_below")
