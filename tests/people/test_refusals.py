"""Counts of refused requests: kept in memory, added up in the database."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.errors import (
    BalanceHeld,
    InsufficientQuota,
    InvalidRequest,
    NotAllowed,
    RequestTooLarge,
)
from tokenbalance.people import refusals
from tokenbalance.people.refusals import RefusalCounts

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

QUOTA = InsufficientQuota("Insufficient balance.")


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool)


async def counted(pool: Pool) -> list[tuple[int, int, str, int]]:
    rows = await pool.fetch("SELECT account_id, key_id, code, count FROM refusals ORDER BY 1, 2, 3")
    return [tuple(row) for row in rows]


async def test_refusals_of_several_processes_add_up_by_account_key_and_code(
    pool: Pool, holder: Holder
) -> None:
    other = await create_holder(pool)
    for _ in range(2):
        counts = RefusalCounts(pool)
        for error in (QUOTA, QUOTA, BalanceHeld("Held.", 1)):
            counts.count(holder.caller, error)
        counts.count(other.caller, QUOTA)
        await counts.flush()
        assert len(counts) == 0
    assert await counted(pool) == [
        (holder.account_id, holder.key_id, "balance_held", 2),
        (holder.account_id, holder.key_id, "insufficient_quota", 4),
        (other.account_id, other.key_id, "insufficient_quota", 2),
    ]


async def test_a_row_says_the_day_and_the_last_moment(pool: Pool, holder: Holder) -> None:
    counts = RefusalCounts(pool)
    before = datetime.now(UTC)
    for _ in range(2):
        counts.count(holder.caller, QUOTA)
        await counts.flush()
    (row,) = await pool.fetch("SELECT day, last_at FROM refusals")
    assert before <= row["last_at"] <= datetime.now(UTC)
    assert row["day"] == row["last_at"].astimezone(UTC).date()


async def test_only_refusals_of_known_callers_are_counted(pool: Pool, holder: Holder) -> None:
    counts = RefusalCounts(pool)
    counts.count(None, QUOTA)
    counts.count(holder.caller, InvalidRequest("No."))
    assert len(counts) == 0
    counts.count(holder.caller, InsufficientQuota("No.", 429))
    counts.count(holder.caller, NotAllowed("No."))
    counts.count(holder.caller, RequestTooLarge("No."))
    assert len(counts) == 3


async def test_counts_wait_for_a_database_that_is_away(pool: Pool, holder: Holder) -> None:
    counts = RefusalCounts(pool)
    counts.count(holder.caller, QUOTA)

    class Away:
        async def execute(self, *_arguments: object) -> None:
            # What is counted meanwhile is not lost either.
            counts.count(holder.caller, QUOTA)
            raise ConnectionResetError

    counts._pool = Away()  # pyright: ignore[reportAttributeAccessIssue] - a pool without a database
    await counts.flush()
    counts._pool = pool
    await counts.flush()
    assert await counted(pool) == [(holder.account_id, holder.key_id, "insufficient_quota", 2)]


async def test_a_flush_that_is_cancelled_keeps_what_it_had(pool: Pool, holder: Holder) -> None:
    counts = RefusalCounts(pool)
    counts.count(holder.caller, QUOTA)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE refusals IN ACCESS EXCLUSIVE MODE")
        flushing = asyncio.create_task(counts.flush())
        await asyncio.wait([flushing], timeout=0.05)
        flushing.cancel()
        await asyncio.wait([flushing])
    assert flushing.cancelled()
    await counts.flush()
    assert await counted(pool) == [(holder.account_id, holder.key_id, "insufficient_quota", 1)]


async def test_memory_is_bounded_and_what_is_left_out_is_said(
    pool: Pool,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(refusals, "ENTRIES_MAX", 1)
    counts = RefusalCounts(pool)
    counts.count(holder.caller, QUOTA)
    counts.count(holder.caller, QUOTA)
    counts.count(holder.caller, NotAllowed("No."))
    with caplog.at_level(logging.WARNING, "tokenbalance"):
        await counts.flush()
        await counts.flush()
    assert caplog.messages == ["1 refusals were not counted: too many callers were refused"]
    assert await counted(pool) == [(holder.account_id, holder.key_id, "insufficient_quota", 2)]
