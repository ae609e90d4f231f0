"""Let a request have rerates besides its one correction.

Online: indexes are built and dropped while requests run, and no lock is held for longer than it
takes to look at the catalog. A migration that was interrupted begins anew.
"""

from __future__ import annotations

from typing import cast

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: None = None
depends_on: None = None

_ANY_ADJUSTMENT = "uq_ledger_one_correction_per_request"
_ONLY_CORRECTIONS = "uq_ledger_one_usage_correction_per_request"
_ADJUSTMENTS = "kind = 'adjustment' AND request_id IS NOT NULL"


class BooksRerated(RuntimeError):
    """The books have rerates, which the release before takes for corrections."""


def upgrade() -> None:
    """Apply."""
    _replace(_ANY_ADJUSTMENT, _ONLY_CORRECTIONS, f"{_ADJUSTMENTS} AND rates IS NULL")


def downgrade() -> None:
    """Take back."""
    rerates = sa.text(f"SELECT count(*) FROM ledger WHERE {_ADJUSTMENTS} AND rates IS NOT NULL")  # noqa: S608 - constants
    number = cast("int", op.get_bind().execute(rerates).scalar_one())
    if number:
        msg = (
            f"The books cannot be moved back: they have {number} rerates, which the release before"
            " would take for corrections of usage"
        )
        raise BooksRerated(msg)
    _replace(_ONLY_CORRECTIONS, _ANY_ADJUSTMENT, _ADJUSTMENTS)


def _replace(old: str, new: str, condition: str) -> None:
    """Replace a unique index of requests by one with another condition."""
    with op.get_context().autocommit_block():
        # What an interrupted build leaves behind is not used by any statement.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {new}")
        op.execute(
            f"CREATE UNIQUE INDEX CONCURRENTLY {new} ON ledger (request_id, account_id)"
            f" WHERE {condition}"
        )
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old}")
