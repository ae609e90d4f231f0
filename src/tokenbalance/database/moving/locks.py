"""Locks on the tables of running servers: waited for briefly, and then tried again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from tokenbalance.database.moving.progress import Progress

WAIT_S: Final = 0.25
"""How long requests may queue behind a lock that is waited for. Shorter than the time after which
Postgres looks for deadlocks, so it is always the migration that gives way."""
PAUSE_S: Final = 0.5
_POLL_S: Final = 0.02
_NOT_AVAILABLE: Final = ("55P03", "57014", "40P01")
"""lock_not_available, query_canceled, deadlock_detected."""

UNLIMITED: Final = """
SELECT set_config(name, '0', true)
  FROM pg_settings
 WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout',
                'lock_timeout')
"""
"""For one transaction: whatever the database sets for its users."""

_WRITERS: Final = """
SELECT virtualtransaction
  FROM pg_locks
 WHERE locktype = 'relation' AND relation = $1::text::regclass AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   AND pid IS DISTINCT FROM pg_backend_pid()
"""


def with_locks(connection: Connection, wait_s: float, work: Callable[[Connection], None]) -> bool:
    """Do something that locks tables; False if a lock was not to be had, and nothing was done.

    The locks stay until the end of the caller's transaction.
    """
    milliseconds = round(wait_s * 1000)
    try:
        with connection.begin_nested():
            # One for each lock, one for all of them.
            for setting in ("lock_timeout", "statement_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {setting} = {milliseconds}")
            work(connection)
            for setting in ("lock_timeout", "statement_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {setting} = 0")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_AVAILABLE:
            raise
        return False
    return True


def await_writers(connection: Connection, table: str, progress: Progress) -> None:
    """Wait until all transactions that have written to a table, or may have, are over.

    Readers do not matter, nor do transactions that write to it from now on.
    """
    waited_for = _writers(connection, table)
    while waited_for and (waited_for := waited_for & _writers(connection, table)):
        progress.tell(f"Waiting for {len(waited_for)} transactions that write to {table}")
        time.sleep(_POLL_S)


def _writers(connection: Connection, table: str) -> set[str]:
    rows = connection.exec_driver_sql(_WRITERS, (table,)).scalars()
    return set(cast("list[str]", rows.all()))
