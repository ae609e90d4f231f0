"""One request at a time adds to a conversation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply. Columns that may be null have no values to write."""
    op.add_column("objects", sa.Column("busy_by", sa.Text(), nullable=True))
    op.add_column("objects", sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take back; requests of several processes may add to a conversation at once then."""
    op.drop_column("objects", "busy_until")
    op.drop_column("objects", "busy_by")
