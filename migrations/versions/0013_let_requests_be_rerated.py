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

_ADJUSTMENTS = "kind = 'adjustment' AND request_id IS NOT NULL"
_BEFORE = {
    "uq_ledger_one_correction_per_request": ("UNIQUE", _ADJUSTMENTS),
    "ix_ledger_later": ("", "state IS NULL AND request_id IS NOT NULL"),
}
_AFTER = {
    "uq_ledger_one_usage_correction_per_request": ("UNIQUE", f"{_ADJUSTMENTS} AND rates IS NULL"),
    # Not in the words of the indexes of all rows that are no end, which statements would use.
    "ix_ledger_after_ends": ("", "kind IN ('adjustment', 'refund') AND request_id IS NOT NULL"),
}
"""Indexes of requests: their conditions."""


class BooksRerated(RuntimeError):
    """The books have rerates, which the release before takes for corrections."""


def upgrade() -> None:
    """Apply."""
    _replace(_BEFORE, _AFTER)


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
    _replace(_AFTER, _BEFORE)


def _replace(old: dict[str, tuple[str, str]], new: dict[str, tuple[str, str]]) -> None:
    with op.get_context().autocommit_block():
        for name, (unique, condition) in new.items():
            # What an interrupted build leaves behind is not used by any statement.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(
                f"CREATE {unique} INDEX CONCURRENTLY {name} ON ledger (request_id, account_id)"
                f" WHERE {condition}"
            )
        for name in old:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
