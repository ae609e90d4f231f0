"""Find an open hold of an account by its request, without looking at the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    _replace_index("request_id")


def downgrade() -> None:
    """Take back."""
    _replace_index("created_at")


def _replace_index(second: str) -> None:
    is_open = sa.text("state = 'open'")
    op.drop_index("ix_holds_open", table_name="holds", postgresql_where=is_open)
    op.create_index(
        "ix_holds_open", "holds", ["account_id", second], unique=False, postgresql_where=is_open
    )
