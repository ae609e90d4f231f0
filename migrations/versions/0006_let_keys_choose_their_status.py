"""Let a key choose the status of requests that the balance does not cover."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    op.add_column("api_keys", sa.Column("insufficient_status", sa.BigInteger(), nullable=True))
    op.create_check_constraint(
        op.f("ck_api_keys_insufficient_status_known"),
        "api_keys",
        "insufficient_status IN (402, 429)",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("api_keys", "insufficient_status")
