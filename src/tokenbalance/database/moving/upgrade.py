"""The move up, while the release before it goes on serving from the old tables.

    create     the new tables, and triggers that note what changes behind the move
    entries    the ledger by ranges of ids, up to the last one; all of it is final
    voids      ended requests without an entry, by ranges of request ids
    index      the new ledger; statistics
    switch     the sums by day, then the rest and the old tables: `contract`

Each batch commits together with how far the move is, so a move that was ended at any point goes on
there. It reads the old tables and never locks their rows. Two moves at once would take turns batch
by batch; `migrations/env.py` lets only one run.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.database.moving import copies, new_tables
from tokenbalance.database.moving.locks import (
    PAUSE_S,
    UNLIMITED,
    WAIT_S,
    await_writers,
    with_locks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sqlalchemy import Connection, Engine

    from tokenbalance.database.moving.progress import Progress

BATCH_ROWS: Final = 20_000
FEW: Final = 200
"""What is left to the switch, during which requests wait: rows."""
_CATCH_UP_MAX: Final = 20
_POSITION: Final = (
    "SELECT entries_until, holds_until, ids_made, all_holds FROM books_move FOR UPDATE"
)

# Not while there is none: plans made for a ledger that is known to be empty read all of it.
_ANALYSE: Final = """
DO $$ BEGIN IF EXISTS (SELECT FROM ledger) THEN ANALYZE ledger; END IF; END $$
"""


class BooksNotMoved(RuntimeError):
    """The books cannot be moved as they are; the old tables are still in use."""


@dataclass(frozen=True, slots=True)
class _Position:
    """How far the move is; its row is locked until the batch commits."""

    entries_until: int
    holds_until: str
    last_id: int
    """The last id that the move gave."""
    all_holds: bool


class Move:
    """One move, from where it is."""

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self.progress: Progress = progress

    def run(self) -> None:
        """Copy everything that exists, and index it. Safe to repeat."""
        self._create()
        self.progress.begin("Moving ledger entries")
        self._copy_entries()
        self.progress.begin("Moving voided requests")
        while self._in_batch(self._copy_voids):
            pass
        self._index()

    def catch_up(self) -> None:
        """Copy what came meanwhile, until few rows are left or it comes as fast as it is copied."""
        self.progress.begin("Moving what was added meanwhile")
        for _ in range(_CATCH_UP_MAX):
            moved = self._copy_entries()
            while changes := self._in_batch(copy_changes):
                moved += changes
            if moved <= FEW:
                return

    def copy_days(self) -> None:
        """Copy the sums by day, from the start. Nobody may add to them meanwhile."""
        self.progress.begin("Moving sums of usage")
        with self._begin() as connection:
            connection.exec_driver_sql("TRUNCATE usage_day_kinds, usage_total_kinds")
            connection.exec_driver_sql(copies.TOTALS)
        after = 0
        while True:
            with self._begin() as connection:
                until, rows = cast(
                    "tuple[int | None, int]",
                    _row(connection, copies.BATCH_OF_DAYS, after, BATCH_ROWS),
                )
                if until is None:
                    break
                connection.exec_driver_sql(copies.DAYS, (after, until))
            after = until
            self.progress.add(rows)
        with self._begin() as connection:
            connection.exec_driver_sql(new_tables.INDEX_OF_DAYS)
            for table in ("usage_day_kinds", "usage_total_kinds"):
                connection.exec_driver_sql(f"ANALYZE {table}")

    def find_changed_days(self) -> tuple[int, int]:
        """Mark the days that corrections so far change; returns up to which ids it looked."""
        with self._begin() as connection:
            return find_changed_days(connection, (0, copies.FIRST_MADE_ID))

    def check(self) -> None:
        """Compare what was moved with the old tables.

        Raises:
            BooksNotMoved: something is missing.

        """
        self.progress.tell("Checking what was moved")
        with self._engine.begin() as connection:
            connection.exec_driver_sql(UNLIMITED)
            until = _position(connection).entries_until
            differ, old, new = cast(
                "tuple[bool, int, int]", _row(connection, copies.ENTRIES_DIFFER, until)
            )
            voids = cast("int", connection.exec_driver_sql(copies.VOIDS_MISSING).scalar_one())
        if differ or voids:
            msg = (
                f"{old} ledger entries were found and {new} were moved, {voids} voided requests"
                " are missing"
            )
            raise BooksNotMoved(msg)

    def _create(self) -> None:
        """Create the tables of the move, unless an earlier one did."""
        while True:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(UNLIMITED)
                if has_table(connection, "books_move") or with_locks(
                    connection, WAIT_S, _create_tables
                ):
                    return
            self.progress.tell("Waiting for a lock on the tables of the books")
            time.sleep(PAUSE_S)

    def _index(self) -> None:
        statements = [*new_tables.INDEXES, _ANALYSE]
        for number, statement in enumerate(statements, 1):
            self.progress.tell(f"Building index {number} of {len(new_tables.INDEXES)}")
            with self._begin() as connection:
                connection.exec_driver_sql(statement)

    def _copy_entries(self) -> int:
        """Copy all entries that exist at this moment; returns how many."""
        with self._engine.connect() as connection:
            until = last_entry(connection)
            # Ids are given in the order of a sequence, and transactions commit in any order.
            await_writers(connection, "ledger_entries", self.progress)
        moved = 0
        while rows := self._in_batch(lambda connection: copy_entries(connection, until)):
            moved += rows
        return moved

    def _copy_voids(self, connection: Connection) -> int:
        position = _position(connection)
        if position.all_holds:
            return 0
        after = position.holds_until
        until, rows = cast(
            "tuple[str | None, int]", _row(connection, copies.BATCH_OF_HOLDS, after, BATCH_ROWS)
        )
        if until is None:
            connection.exec_driver_sql("UPDATE books_move SET all_holds = true")
            return 0
        voids = connection.exec_driver_sql(copies.VOIDS, (after, until, position.last_id)).rowcount
        connection.exec_driver_sql(
            "UPDATE books_move SET holds_until = $1, ids_made = ids_made + $2", (until, voids)
        )
        return rows

    def _in_batch(self, copy: Callable[[Connection], int]) -> int:
        """Copy one batch and commit it; returns how many rows it had."""
        with self._begin() as connection:
            rows = copy(connection)
        self.progress.add(rows)
        return rows

    @contextmanager
    def _begin(self) -> Generator[Connection]:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(UNLIMITED)
            connection.exec_driver_sql(copies.PLANS)
            yield connection


def last_entry(connection: Connection) -> int:
    """Return the last id in the old ledger, of those that can be read."""
    newest = "SELECT coalesce(max(id), 0) FROM ledger_entries"
    return cast("int", connection.exec_driver_sql(newest).scalar_one())


def copy_entries(connection: Connection, until: int) -> int:
    """Copy a batch of entries, up to an id below which all are final; returns how many.

    Raises:
        BooksNotMoved: a charge has no hold or no usage.

    """
    position = _position(connection)
    after = position.entries_until
    last, rows = cast(
        "tuple[int | None, int]",
        _row(connection, copies.BATCH_OF_ENTRIES, after, until, BATCH_ROWS),
    )
    if last is None:
        return 0
    copied = connection.exec_driver_sql(copies.CHARGES, (after, last)).rowcount
    copied += connection.exec_driver_sql(copies.OTHERS, (after, last)).rowcount
    if copied != rows:
        entry = connection.exec_driver_sql(copies.NOT_COPIED, (after, last)).scalar()
        msg = (
            f"Ledger entry {entry} charges a request whose hold or usage is missing: run"
            " `tokenbalance ledger verify` with the version before this one"
        )
        raise BooksNotMoved(msg)
    made = connection.exec_driver_sql(copies.CORRECTIONS, (after, last, position.last_id)).rowcount
    connection.exec_driver_sql(
        "UPDATE books_move SET entries_until = $1, ids_made = ids_made + $2", (last, made)
    )
    return rows


def copy_changes(connection: Connection) -> int:
    """Copy requests that were voided or corrected during the move; returns how many."""
    last_id = _position(connection).last_id
    rows, last = cast("tuple[int, int]", _row(connection, copies.CHANGES, last_id, BATCH_ROWS))
    connection.exec_driver_sql(
        "UPDATE books_move SET ids_made = $1", (last - copies.FIRST_MADE_ID,)
    )
    return rows


def find_changed_days(connection: Connection, after: tuple[int, int]) -> tuple[int, int]:
    """Mark days that corrections change for the sums; returns the last ids that were looked at.

    Args:
        connection: of the move.
        after: what it returned the last time.

    """
    position = _position(connection)
    connection.exec_driver_sql(copies.CHANGED_DAYS, after)
    return position.entries_until, position.last_id


def has_table(connection: Connection, name: str) -> bool:
    """Tell whether a table exists."""
    found = connection.exec_driver_sql("SELECT to_regclass($1) IS NOT NULL", (name,))
    return cast("bool", found.scalar_one())


def _create_tables(connection: Connection) -> None:
    # The triggers last: they lock the tables of running servers.
    for statement in (*new_tables.TABLES, *copies.MOVE_TABLES):
        connection.exec_driver_sql(statement)


def _position(connection: Connection) -> _Position:
    entries_until, holds_until, ids_made, all_holds = cast(
        "tuple[int, str, int, bool]", _row(connection, _POSITION)
    )
    return _Position(entries_until, holds_until, copies.FIRST_MADE_ID + ids_made, all_holds)


def _row(connection: Connection, statement: str, *arguments: object) -> tuple[object, ...]:
    """Run a statement that returns one row."""
    return tuple(connection.exec_driver_sql(statement, arguments).one())
