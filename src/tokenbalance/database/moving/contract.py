"""The switch from version 1 to version 2, in the migration's own transaction.

It first takes what requests do not notice: the lock of the sums, so that no server adds to them,
and locks that keep vacuums away. Then, as soon as little is left to copy, it locks the old tables,
copies the rest and drops them. Requests wait only for that last part. If the locks are not to be
had at once, it lets requests pass, catches up, and tries again.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database.moving import copies, new_tables
from tokenbalance.database.moving.locks import PAUSE_S, UNLIMITED, WAIT_S, with_locks
from tokenbalance.database.moving.upgrade import (
    copy_changes,
    copy_entries,
    find_changed_days,
    last_entry,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tokenbalance.database.moving.upgrade import Move

_OLD: Final = "holds, ledger_entries, usage, usage_days, usage_totals"
# The last two are the other ends of foreign keys that are dropped.
_ALL: Final = f"{_OLD}, accounts, api_keys"
_VACUUM_GIVES_WAY_S: Final = 10.0
"""An autovacuum ends after a second if somebody waits for it; requests do not wait meanwhile."""


def contract(connection: Connection, move: Move) -> None:
    """Finish the move; all of it happens when the caller commits."""
    connection.exec_driver_sql(UNLIMITED)
    connection.exec_driver_sql(copies.PLANS)
    while not with_locks(connection, _VACUUM_GIVES_WAY_S, _keep_others_away):
        move.progress.tell("Waiting for a lock on the sums of usage")
    move.copy_days()
    days_until = move.find_changed_days()
    move.catch_up()
    move.check()
    while not with_locks(connection, WAIT_S, partial(_lock, f"{_ALL} IN ACCESS EXCLUSIVE MODE")):
        move.progress.tell("Waiting for others to end their transactions on the books")
        time.sleep(PAUSE_S)
        move.catch_up()
    _copy_the_rest(connection, days_until)
    _drop(connection)


def _keep_others_away(connection: Connection) -> None:
    _lock(f"{_OLD}, ledger IN SHARE UPDATE EXCLUSIVE MODE", connection)
    connection.exec_driver_sql("SELECT FROM usage_summed FOR UPDATE")


def _lock(what: str, connection: Connection) -> None:
    connection.exec_driver_sql(f"LOCK TABLE {what}")


def _copy_the_rest(connection: Connection, days_until: tuple[int, int]) -> None:
    until = last_entry(connection)
    while copy_entries(connection, until):
        pass
    while copy_changes(connection):
        pass
    connection.exec_driver_sql(copies.OPEN_HOLDS)
    _ = find_changed_days(connection, days_until)
    connection.exec_driver_sql(copies.VOIDS_SUMMED.format(sign="-"))


def _drop(connection: Connection) -> None:
    take_over_ids(connection, "ledger_entries", "ledger")
    connection.exec_driver_sql(
        "DROP TABLE usage, ledger_entries, holds, books_move, books_move_changes"
    )
    connection.exec_driver_sql("DROP FUNCTION note_books_move_change()")
    columns = ", ".join(f"DROP COLUMN {kind}" for kind in new_tables.KINDS)
    for table in ("usage_days", "usage_totals"):
        connection.exec_driver_sql(f"ALTER TABLE {table} {columns}")
    for statement in new_tables.GUARDS:
        connection.exec_driver_sql(statement)


def take_over_ids(connection: Connection, old: str, new: str) -> None:
    """Let the ids of a table go on where those of another one are."""
    sequence = connection.exec_driver_sql("SELECT pg_get_serial_sequence($1, 'id')", (old,))
    name = cast("str", sequence.scalar_one())
    connection.exec_driver_sql(
        "SELECT setval(pg_get_serial_sequence($1, 'id'), last_value, is_called)"  # noqa: S608 - Postgres gave the name
        f" FROM {name}",
        (new,),
    )
