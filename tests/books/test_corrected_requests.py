"""An expired request whose true usage was found later is one request in every report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.usage import request_id_of
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.books.pricing.rates import build_rates
from tokenbalance.books.reports import (
    EVER,
    USAGE_COLUMNS,
    EntryQuery,
    RequestQuery,
    entries_page,
    explain,
    export_usage,
    requests_page,
)
from tokenbalance.model import Actor, Claim, Hold, Purpose, Trace, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

RATES = build_rates({"input": 1 * 10**9, "cached_input": 5 * 10**8, "output": 2 * 10**9})
KNOWN = Usage({"input": 20, "output": 10}, 30, estimated=True)
TRUE = Usage({"input": 20, "cached_input": 9, "output": 40}, 60)
TRACE = Trace(200, None, "req_1", 100, 250, streamed=True)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@pytest.fixture
async def corrected(pool: Pool, holder: Holder) -> Hold:
    """A request that was charged 40 by estimate, then 96, with a hold of 50."""
    purpose = Purpose(request_id_of(datetime.now(UTC)), "/chat/completions", "a model", RATES)
    book = Book(pool)
    hold = await book.place(holder.caller, purpose, Claim(50, 50))
    assert hold is not None
    assert await book.expire(hold, KNOWN, orphaned=True)
    await book.correct(hold, TRUE, TRACE)
    return hold


async def test_it_is_listed_once_with_its_true_usage(sessions: Sessions, corrected: Hold) -> None:
    async with sessions.begin() as session:
        (row,) = (await requests_page(session, RequestQuery())).data
        (overrun,) = (await requests_page(session, RequestQuery(overrun=True))).data
        estimated = (await requests_page(session, RequestQuery(estimated=True))).data
    assert (row.request_id, row.state, row.usage) == (corrected.request_id, "expired", TRUE)
    assert (row.charge, row.hold, row.overrun, row.estimated) == (96, 50, 46, False)
    assert row.trace == TRACE
    assert row.corrected_at is not None
    assert (overrun, estimated) == (row, [])


async def test_it_is_explained_by_its_charge_its_correction_and_refunds(
    sessions: Sessions, holder: Holder, corrected: Hold
) -> None:
    async with sessions.begin() as session:
        _ = await refund(session, corrected.request_id, 6, Cause(Actor("tests")))
    async with sessions.begin() as session:
        explained = await explain(session, corrected.request_id, holder.account_id)
        entries = (await entries_page(session, EntryQuery(holder.account_id))).data
    named = [(entry.kind, entry.amount) for entry in explained.entries]
    assert named == [("charge", -40), ("adjustment", -56), ("refund", 6)]
    assert [entry.id for entry in entries[1:]] == [entry.id for entry in explained.entries]
    assert explained.cost == 90
    assert explained.bill is not None
    lines = [(line.kind, line.tokens, line.credits) for line in explained.bill.lines]
    assert lines == [("input", 11, "11"), ("cached_input", 9, "4.5"), ("output", 40, "80")]
    assert (explained.bill.sum, explained.bill.charge) == ("95.5", 96)
    assert [(each.label, each.number) for each in explained.quantities] == [
        ("Input tokens", 20),
        ("Cached input tokens", 9),
        ("Output tokens", 40),
    ]


@pytest.mark.usefixtures("corrected")
async def test_it_is_one_row_of_an_export(sessions: Sessions) -> None:
    (row,) = [row async for batch in export_usage(sessions, EVER) for row in batch]
    cells = dict(zip(USAGE_COLUMNS, row, strict=True))
    used = ("input", "cached_input", "output", "reasoning", "total", "charge", "overrun")
    assert [cells[name] for name in used] == [20, 9, 40, 0, 60, 96, 46]
    assert (cells["estimated"], cells["upstream_status"], cells["streamed"]) == (False, 200, True)


async def test_a_request_that_turned_out_to_have_failed_costs_nothing(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    purpose = Purpose(request_id_of(datetime.now(UTC)), "/chat/completions", None)
    hold = await Book(pool).place(holder.caller, purpose, Claim(50, 50))
    assert hold is not None
    assert await Book(pool).expire(hold, KNOWN, orphaned=True)
    await Book(pool).void(hold, Trace(500, "server_error"))
    async with sessions.begin() as session:
        explained = await explain(session, hold.request_id)
    assert (explained.request.state, explained.request.charge, explained.cost) == ("expired", 0, 0)
    assert explained.request.usage == Usage()
