"""Accounts of teams: members with roles, projects, invitations, and credits that move."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: None = None
depends_on: None = None

_USERS_OF_KEYS = """
UPDATE api_keys k SET user_id = a.user_id FROM accounts a WHERE a.id = k.account_id
"""
# Which budgets only superusers change: so far a list with the limits of their keys, and all of
# accounts.
_BOUND_BUDGETS = """
UPDATE limits l SET is_bound = true FROM api_keys k
 WHERE l.subject = 'key:' || k.id AND l.account_id = k.account_id
   AND k.limits->'bound_budgets' @> to_jsonb(l.id)
"""
_LISTED_BUDGETS = """
UPDATE api_keys k
   SET limits = k.limits || jsonb_build_object('bound_budgets', bound.ids)
  FROM (SELECT account_id, subject, jsonb_agg(id) AS ids
          FROM limits WHERE is_bound GROUP BY account_id, subject) bound
 WHERE bound.subject = 'key:' || k.id AND bound.account_id = k.account_id
"""
# Whoever makes a key of a personal account need not say whose it is, and cannot say otherwise.
_PERSONAL_KEYS = """
CREATE FUNCTION user_of_personal_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner bigint;
BEGIN
    SELECT user_id INTO owner FROM accounts WHERE id = NEW.account_id;
    NEW.user_id := coalesce(owner, NEW.user_id);
    RETURN NEW;
END $$
"""
_PERSONAL_KEYS_TRIGGER = """
CREATE TRIGGER personal_keys_have_their_user BEFORE INSERT ON api_keys
FOR EACH ROW EXECUTE FUNCTION user_of_personal_key()
"""
_ROLES = "role IN ('viewer', 'member', 'admin', 'owner')"
_BEFORE = "'grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'storage', 'expiry', 'void'"
_AFTER = (
    "'grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'storage', 'expiry', 'transfer',"
    " 'void'"
)


class TeamsExist(RuntimeError):
    """The books have accounts or entries that the release before does not know."""


def upgrade() -> None:
    """Apply. Every account is a personal one, and nothing changes for its user."""
    moment = sa.DateTime(timezone=True)
    limits = postgresql.JSONB()
    for table, name, kind, default in (
        ("accounts", "kind", sa.Text(), "'personal'"),
        ("accounts", "name", sa.Text(), "''"),
        ("api_keys", "is_suspended", sa.Boolean(), "false"),
        ("limits", "is_bound", sa.Boolean(), "false"),
    ):
        column = sa.Column(name, kind, server_default=sa.text(default), nullable=False)
        op.add_column(table, column)
    op.add_column("accounts", sa.Column("closed_at", moment, nullable=True))
    op.add_column("api_keys", sa.Column("user_id", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("project_id", sa.BigInteger(), nullable=True))
    op.add_column("ledger", sa.Column("transfer_id", sa.Uuid(), nullable=True))
    op.alter_column("accounts", "user_id", nullable=True)
    op.create_check_constraint(
        op.f("ck_accounts_kind_known"), "accounts", "kind IN ('personal', 'team')"
    )
    op.create_check_constraint(
        op.f("ck_accounts_kind_fits"),
        "accounts",
        "CASE kind WHEN 'team' THEN user_id IS NULL AND name <> '' ELSE user_id IS NOT NULL"
        " AND name = '' AND closed_at IS NULL END",
    )
    op.create_index(
        "ix_accounts_teams", "accounts", ["id"], postgresql_where=sa.text("kind = 'team'")
    )
    op.create_table(
        "memberships",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("limits", limits, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("joined_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", moment, nullable=True),
        sa.CheckConstraint(_ROLES, name=op.f("ck_memberships_role_known")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_memberships_account_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("account_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index("ix_memberships_user_id", "memberships", ["user_id"])
    op.create_table(
        "projects",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("limits", limits, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("archived_at", moment, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_projects_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_projects")),
    )
    op.create_index(
        "uq_projects_name", "projects", ["account_id", sa.text("lower(name)")], unique=True
    )
    op.create_table(
        "invitations",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.CheckConstraint(
            "octet_length(secret_sha256) = 32", name=op.f("ck_invitations_secret_is_sha256")
        ),
        sa.CheckConstraint(_ROLES, name=op.f("ck_invitations_role_known")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_invitations_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_invitations_secret_sha256")),
    )
    op.execute(_BOUND_BUDGETS)
    op.execute(
        "UPDATE limits SET is_bound = true WHERE subject = 'account' AND name LIKE 'budget:%'"
    )
    op.execute(
        "UPDATE api_keys SET limits = limits - 'bound_budgets' WHERE limits ? 'bound_budgets'"
    )
    op.execute(_USERS_OF_KEYS)
    op.create_foreign_key(op.f("fk_api_keys_user_id"), "api_keys", "users", ["user_id"], ["id"])
    op.create_foreign_key(
        op.f("fk_api_keys_account_id_project_id"),
        "api_keys",
        "projects",
        ["account_id", "project_id"],
        ["account_id", "id"],
    )
    op.create_check_constraint(
        op.f("ck_api_keys_token_is_a_users"), "api_keys", "kind <> 'sign-in' OR user_id IS NOT NULL"
    )
    op.execute(_PERSONAL_KEYS)
    op.execute(_PERSONAL_KEYS_TRIGGER)
    _allow_kinds(_AFTER)
    op.execute(
        "ALTER TABLE ledger ADD CONSTRAINT ck_ledger_transfer_is_named"
        " CHECK ((kind = 'transfer') = (transfer_id IS NOT NULL)) NOT VALID"
    )
    with op.get_context().autocommit_block():
        for check in ("ck_ledger_kind_known", "ck_ledger_transfer_is_named"):
            op.execute(f"ALTER TABLE ledger VALIDATE CONSTRAINT {check}")
        # What an interrupted build leaves behind is not used by any statement.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS uq_ledger_transfer")
        op.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY uq_ledger_transfer ON ledger"
            " (transfer_id, account_id) WHERE transfer_id IS NOT NULL"
        )


def downgrade() -> None:
    """Take back, if there was never a team and no credits have moved."""
    for what, found in (
        ("teams", "SELECT id FROM accounts WHERE kind = 'team' LIMIT 1"),
        ("transfers", "SELECT id FROM ledger WHERE transfer_id IS NOT NULL LIMIT 1"),
    ):
        if op.get_bind().scalar(sa.text(found)):
            msg = (
                f"The books cannot be moved back: they have {what}, which the release before"
                " does not know"
            )
            raise TeamsExist(msg)
    op.drop_index("uq_ledger_transfer", "ledger")
    op.drop_constraint(op.f("ck_ledger_transfer_is_named"), "ledger")
    op.drop_column("ledger", "transfer_id")
    _allow_kinds(_BEFORE)
    op.execute("DROP TRIGGER personal_keys_have_their_user ON api_keys")
    op.execute("DROP FUNCTION user_of_personal_key()")
    op.drop_constraint(op.f("ck_api_keys_token_is_a_users"), "api_keys")
    op.execute(_LISTED_BUDGETS)
    op.drop_column("limits", "is_bound")
    for column in ("is_suspended", "project_id", "user_id"):
        op.drop_column("api_keys", column)
    for table in ("invitations", "projects", "memberships"):
        op.drop_table(table)
    op.drop_index("ix_accounts_teams", "accounts")
    for check in ("ck_accounts_kind_fits", "ck_accounts_kind_known"):
        op.drop_constraint(op.f(check), "accounts")
    op.alter_column("accounts", "user_id", nullable=False)
    for column in ("closed_at", "name", "kind"):
        op.drop_column("accounts", column)


def _allow_kinds(kinds: str) -> None:
    op.execute("ALTER TABLE ledger DROP CONSTRAINT ck_ledger_kind_known")
    op.execute(
        "ALTER TABLE ledger ADD CONSTRAINT ck_ledger_kind_known"
        f" CHECK (kind IN ({kinds})) NOT VALID"
    )
