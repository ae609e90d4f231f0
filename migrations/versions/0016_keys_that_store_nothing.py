"""Keys whose responses and chats the upstream must not store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply. A constant default is kept in the catalogue, so that no row is rewritten."""
    op.add_column(
        "api_keys",
        sa.Column(
            "force_store_false", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
    )


def downgrade() -> None:
    """Take back; no key forbids it then."""
    op.drop_column("api_keys", "force_store_false")
