"""Keep what was asked for where open holds keep a part of it, and since when they do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: None = None
depends_on: None = None

_NOT_ZERO = "ck_ledger_entries_amount_not_zero"
_ASKED = "ck_ledger_entries_asked_takes_more"


def upgrade() -> None:
    """Apply."""
    # Locks the table to the end of the transaction, so no entry of an earlier version is still
    # uncommitted when the last one is looked up.
    op.add_column("ledger_entries", sa.Column("asked", sa.BigInteger(), nullable=True))
    _replace_check("amount <> 0 OR kind IN ('set', 'charge') OR asked IS NOT NULL")
    _add_check(_ASKED, "asked IS NULL OR asked < amount AND amount <= 0")
    op.add_column(
        "books",
        sa.Column(
            "holds_covered_after", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
    )
    op.execute(
        "UPDATE books SET holds_covered_after = (SELECT coalesce(max(id), 0) FROM ledger_entries)"
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("books", "holds_covered_after")
    op.execute(f"ALTER TABLE ledger_entries DROP CONSTRAINT {_ASKED}")
    _replace_check("amount <> 0 OR kind IN ('set', 'charge')")
    op.drop_column("ledger_entries", "asked")


def _replace_check(condition: str) -> None:
    op.execute(f"ALTER TABLE ledger_entries DROP CONSTRAINT {_NOT_ZERO}")
    _add_check(_NOT_ZERO, condition)


def _add_check(name: str, condition: str) -> None:
    """Add a check of new rows. It holds for the old ones, which need not be read to prove it."""
    op.execute(f"ALTER TABLE ledger_entries ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
