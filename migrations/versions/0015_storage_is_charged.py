"""Entries of the ledger for storage.

Online: the constraint is replaced without a look at the rows, and proved to them afterwards.
"""

from __future__ import annotations

from typing import cast

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: None = None
depends_on: None = None

_BEFORE = "'grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'expiry', 'void'"
_AFTER = "'grant', 'top-up', 'set', 'charge', 'refund', 'adjustment', 'storage', 'expiry', 'void'"


class StorageCharged(RuntimeError):
    """The books have entries of a kind that the release before does not know."""


def upgrade() -> None:
    """Apply."""
    _replace(_AFTER)


def downgrade() -> None:
    """Take back."""
    entries = sa.text("SELECT count(*) FROM ledger WHERE kind = 'storage' AND state IS NULL")
    number = cast("int", op.get_bind().execute(entries).scalar_one())
    if number:
        msg = (
            f"The books cannot be moved back: they have {number} entries for storage, which the"
            " release before does not know"
        )
        raise StorageCharged(msg)
    _replace(_BEFORE)


def _replace(kinds: str) -> None:
    op.execute("ALTER TABLE ledger DROP CONSTRAINT ck_ledger_kind_known")
    op.execute(
        "ALTER TABLE ledger ADD CONSTRAINT ck_ledger_kind_known"
        f" CHECK (kind IN ({kinds})) NOT VALID"
    )
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE ledger VALIDATE CONSTRAINT ck_ledger_kind_known")
