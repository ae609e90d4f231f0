"""Know the browsers that users signed in with, and normalise e-mails.

An e-mail whose normalised form belongs to another user stays as it is: the users are not merged.
"""

from __future__ import annotations

import unicodedata
from typing import cast

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "known_browsers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("last_sign_in_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "octet_length(secret_sha256) = 32", name=op.f("ck_known_browsers_secret_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_known_browsers_user_id_users")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known_browsers")),
        sa.UniqueConstraint(
            "user_id", "secret_sha256", name=op.f("uq_known_browsers_user_id_secret_sha256")
        ),
    )
    op.create_index("ix_known_browsers_secret_sha256", "known_browsers", ["secret_sha256"])
    op.create_table(
        "sign_ins",
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.CheckConstraint("via IN ('browser', 'api')", name=op.f("ck_sign_ins_via_known")),
        sa.ForeignKeyConstraint(
            ["token_id"], ["api_keys.id"], name=op.f("fk_sign_ins_token_id_api_keys")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_sign_ins_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_sign_ins")),
    )
    op.create_index("ix_sign_ins_account_id", "sign_ins", ["account_id"])
    # Unlogged and small: its rows live for a quarter of an hour.
    op.add_column("sign_in_failures", sa.Column("email_sha256", sa.LargeBinary(), nullable=True))
    op.create_index("ix_sign_in_failures_email_sha256", "sign_in_failures", ["email_sha256"])
    _normalise_emails()


def downgrade() -> None:
    """Take back. E-mails stay normalised."""
    op.drop_index("ix_sign_in_failures_email_sha256", table_name="sign_in_failures")
    op.drop_column("sign_in_failures", "email_sha256")
    op.drop_table("sign_ins")
    op.drop_table("known_browsers")


def _normalise_emails() -> None:
    """Normalise e-mails that are not, in the order of creation."""
    connection = op.get_bind()
    # Nearly all addresses are ASCII, which is normalised already.
    others = sa.text(
        "SELECT id, email FROM users WHERE octet_length(email) > length(email) ORDER BY id"
    )
    change = sa.text(
        "UPDATE users SET email = :email WHERE id = :id AND NOT EXISTS"
        " (SELECT FROM users other WHERE lower(other.email) = lower(:email) AND other.id <> :id)"
    )
    found = cast("list[tuple[int, str]]", connection.execute(others).all())
    for user_id, email in found:
        normal = unicodedata.normalize("NFKC", email)
        if normal != email and _is_address(normal):
            _ = connection.execute(change, {"id": user_id, "email": normal})


def _is_address(text: str) -> bool:
    local, _, domain = text.partition("@")
    return bool(local and domain) and "@" not in domain and " " not in text and text.isprintable()
