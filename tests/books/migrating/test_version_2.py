"""The books move to version 2 and back: nothing is lost, nothing is double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.books.migrating.conftest import downgrade
from tests.support import version_1
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.migrate import migrate
from tokenbalance.database.moving.downgrade import KindsUnknown
from tokenbalance.database.moving.upgrade import BooksNotMoved

if TYPE_CHECKING:
    from tests.books.migrating.conftest import Connection
    from tests.support.old_books import OldBooks


async def test_books_of_version_1_say_the_same_in_version_2_and_back_again(
    old_dsn: str, connection: Connection, old: OldBooks
) -> None:
    before = await version_1.said(connection, version_1.WHAT_IT_SAYS)
    assert await old.violations() == []

    await asyncio.to_thread(migrate, old_dsn)
    assert await version_1.said(connection, version_1.WHAT_VERSION_2_SAYS) == before
    report = await audit(connection)
    assert report.violations == []
    assert (report.accounts, report.entries, report.open_holds) == (3, len(before["entries"]), 2)
    moved = await _rows_of_version_2(connection)

    await downgrade(old_dsn)
    assert await version_1.said(connection, version_1.WHAT_IT_SAYS) == before
    assert await old.violations() == []

    await asyncio.to_thread(migrate, old_dsn)
    assert await _rows_of_version_2(connection) == moved


async def test_days_whose_sums_version_2_has_elsewhere_are_summed_again(
    old_dsn: str, connection: Connection
) -> None:
    await connection.execute("DELETE FROM usage_changes")
    voided = "SELECT sum(voided) FROM usage_totals"
    before = await connection.fetchval(voided)
    await asyncio.to_thread(migrate, old_dsn)
    # The days of the requests that were corrected a day later, and of the corrections.
    assert await connection.fetchval(
        "SELECT array_agg(DISTINCT (now() AT TIME ZONE 'UTC')::date - day) FROM usage_changes"
    ) == [1, 2]
    # It began before the moment up to which all is summed, and ended after it.
    assert await connection.fetchval(voided) == before - 1
    await downgrade(old_dsn)
    assert await connection.fetchval(voided) == before


async def test_the_ledger_goes_on_with_the_next_id_is_append_only_and_has_voids_far_below(
    old_dsn: str, connection: Connection
) -> None:
    last = await connection.fetchval("SELECT max(id) FROM ledger_entries")
    await asyncio.to_thread(migrate, old_dsn)
    enter = (
        "INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
        " VALUES (1, 'grant', 1, 1, 'root') RETURNING id"
    )
    assert await connection.fetchval(enter) == last + 1
    for change in ("UPDATE ledger SET amount = 2", "DELETE FROM ledger", "TRUNCATE ledger"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(change)
    # Voids had no entry.
    voids = await connection.fetch(
        "SELECT id, request_id FROM ledger WHERE kind = 'void' ORDER BY request_id"
    )
    ids = [row["id"] for row in voids]
    assert len(ids) == 24
    assert ids == sorted(ids)
    assert ids[-1] < 0


async def test_books_with_kinds_that_version_1_does_not_know_stay_as_they_are(
    old_dsn: str, connection: Connection
) -> None:
    await asyncio.to_thread(migrate, old_dsn)
    await connection.execute("SET session_replication_role = replica")
    for use in (
        """UPDATE ledger SET quantities = '{"clips": 1}' WHERE request_id = 'tb_01_over'""",
        "INSERT INTO usage_day_kinds VALUES (1, now(), '', 1, 'seconds', 1)",
        "INSERT INTO usage_day_kinds VALUES (1, now(), '', 1, 'none', 0)",
        "INSERT INTO usage_total_kinds VALUES (now(), '', 'video', 1), (now(), '', 'b', 0)",
    ):
        await connection.execute(use)
    before = await _rows_of_version_2(connection)
    with pytest.raises(KindsUnknown, match=r"these kinds of usage: clips, seconds, video$"):
        await downgrade(old_dsn)
    assert await _rows_of_version_2(connection) == before


async def test_a_charge_without_its_hold_is_named_and_the_old_tables_stay_in_use(
    old_dsn: str, connection: Connection, old: OldBooks
) -> None:
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM usage WHERE request_id = 'tb_03_over'")
    await connection.execute("SET session_replication_role = DEFAULT")
    entry = await connection.fetchval(
        "SELECT id FROM ledger_entries WHERE request_id = 'tb_03_over'"
    )
    with pytest.raises(BooksNotMoved, match=f"entry {entry} charges a request whose hold"):
        await asyncio.to_thread(migrate, old_dsn)
    await old.place(1, "tb_later")
    await old.settle(1, "tb_later")


async def _rows_of_version_2(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT (to_jsonb(l) - 'transfer_id')::text FROM ledger l UNION ALL"
        " SELECT (to_jsonb(h) - '{tokens,limit_ids}'::text[])::text FROM open_holds h"
        " UNION ALL SELECT t::text FROM usage_totals t"
    )
    return sorted(row[0] for row in rows)
