"""Keep one row for each request that ended, and only requests in progress among the holds.

The way up is online: the release before this one goes on serving while its tables are copied. It
ends with one short transaction, in which requests wait. The way down locks the books.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from alembic import context, op

from tokenbalance.database.moving.contract import contract
from tokenbalance.database.moving.downgrade import move_down
from tokenbalance.database.moving.progress import Progress, say_nothing
from tokenbalance.database.moving.upgrade import Move

if TYPE_CHECKING:
    from tokenbalance.database.moving.progress import Report

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Apply."""
    migrations = op.get_context()
    move = Move(op.get_bind().engine, _progress())
    # Commits what came before: batches have transactions of their own.
    with migrations.autocommit_block():
        move.run()
    contract(op.get_bind(), move)


def downgrade() -> None:
    """Take back."""
    move_down(op.get_bind(), _progress())


def _progress() -> Progress:
    return Progress(cast("Report", context.config.attributes.get("report", say_nothing)))
