"""Let a key be for some uses only, and know with which key it was made.

Keys from before may do all that they could. The columns get no value per row, so the table is not
written again; a scan of the keys, which are few beside requests, checks them and builds the index.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "api_keys",
        sa.Column(
            "scopes",
            ARRAY(sa.Text()),
            server_default=sa.text("'{inference,read,manage}'"),
            nullable=False,
        ),
    )
    op.create_check_constraint(
        op.f("ck_api_keys_scopes_known"),
        "api_keys",
        "cardinality(scopes) > 0 AND scopes <@ '{inference,read,manage}'",
    )
    op.add_column("api_keys", sa.Column("made_by_key_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_api_keys_made_by_key_id"), "api_keys", "api_keys", ["made_by_key_id"], ["id"]
    )
    op.create_index(
        "ix_api_keys_made_by_key_id",
        "api_keys",
        ["made_by_key_id"],
        unique=False,
        postgresql_where=sa.text("made_by_key_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("api_keys", "made_by_key_id")
    op.drop_column("api_keys", "scopes")
