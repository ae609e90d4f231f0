"""A rerated request everywhere that it is shown: one request, at its newest price."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.rerates import (
    USED,
    Asked,
    card,
    charged,
    expired,
    new_rerate,
    refunded,
    rerated,
)
from tests.support.security_log import recorded
from tests.support.usage import summed_by_report, summed_directly
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.reports import (
    EVER,
    USAGE_COLUMNS,
    EntryQuery,
    Group,
    RequestQuery,
    UsageQuery,
    entries_page,
    explain,
    export_usage,
    requests_page,
)
from tokenbalance.books.reports import rollup as roll_up
from tokenbalance.books.reports.rollup import RollUp
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Hold

DEAR = card("2", "4", "tier = { default = 1.5 }")


@pytest.fixture
async def hold(pool: Pool, sessions: Sessions, holder: Holder) -> Hold:
    """A request that cost 15, then 30, then 60."""
    hold = await charged(pool, holder, USED, Asked(card()))
    _ = await rerated(sessions, card("2", "2"))
    _ = await rerated(sessions, DEAR)
    return hold


async def test_its_bill_is_made_of_the_newest_rates(sessions: Sessions, hold: Hold) -> None:
    await refunded(sessions, hold, 10)
    async with sessions() as session:
        explained = await explain(session, hold.request_id)
        entries = (await entries_page(session, EntryQuery(hold.account_id))).data
    assert explained.request.charge == 60
    assert explained.bill is not None
    assert explained.bill.charge == 60
    assert [(entry.kind, entry.amount) for entry in explained.entries] == [
        ("charge", -15),
        ("adjustment", -15),
        ("adjustment", -30),
        ("refund", 10),
    ]
    assert [*explained.entries] == entries[1:]
    assert explained.cost == 50
    days = [entry.created_at.astimezone(UTC).date() for entry in explained.entries[1:3]]
    assert explained.notes == [
        f"Its price was corrected on {days[0]}: it was charged 15 before.",
        f"Its price was corrected on {days[1]}: it was charged 30 before.",
    ]
    assert (explained.charge_at_end, explained.tier_asked) == (15, None)


async def test_a_corrected_usage_is_no_corrected_price(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    _ = await rerated(sessions, card("2", "2"))
    assert await Book(pool).settle(hold, Usage({"input": 50}, 50))
    _ = await rerated(sessions, card("3", "3"))
    async with sessions() as session:
        explained = await explain(session, hold.request_id)
    assert explained.request.charge == 150
    assert [note.partition(": ")[2] for note in explained.notes] == [
        "it was charged 15 before.",
        "it was charged 100 before.",
    ]
    assert explained.charge_at_end == 15


async def test_it_is_one_request_in_a_list_and_in_an_export(sessions: Sessions, hold: Hold) -> None:
    async with sessions() as session:
        (row,) = (await requests_page(session, RequestQuery())).data
    assert (row.request_id, row.charge, row.usage, row.overrun) == (hold.request_id, 60, USED, 0)
    assert row.rates is not None
    assert row.rates.nano["output"] == 4 * 10**9
    (cells,) = [row async for batch in export_usage(sessions, EVER) for row in batch]
    shown = dict(zip(USAGE_COLUMNS, cells, strict=True))
    assert [shown[name] for name in ("input", "output", "total", "charge")] == [10, 5, 15, 60]


@pytest.mark.usefixtures("hold")
async def test_a_rerate_counts_on_its_own_day_as_credits_and_nothing_else(
    pool: Pool, sessions: Sessions, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lapsed = await expired(pool, holder)
    _ = await rerated(sessions, card("3", "3"))
    assert await Book(pool).settle(lapsed, Usage({"input": 50}, 50))
    query = UsageQuery(groups=frozenset(Group))
    directly = await summed_directly(pool, query)
    (sums,) = directly.values()
    assert (sums.requests, sums.total, sums.charge, sums.estimated) == (2, 65, 195, 0)
    assert await summed_by_report(sessions, query) == directly
    monkeypatch.setattr(roll_up, "LATE", timedelta(0))
    await RollUp(sessions).catch_up()
    assert await pool.fetchval("SELECT sum(charge) FROM usage_days") == 195
    assert await summed_by_report(sessions, query) == directly


async def test_each_page_of_an_account_is_an_event(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    for _ in range(2):
        _ = await charged(pool, holder)
    _ = await rerated(sessions, card("2", "2"))
    _ = await rerated(sessions, card("2", "2"))
    details = {
        "requests": 2,
        "amount": -30,
        "balance": {"old": 970, "new": 940},
        "note": "prices of card.toml",
    }
    assert await recorded(pool) == [("balance.rerated", "cli", holder.user_id, None, details)]


async def test_who_pays_most_and_whose_balance_falls_below_0_is_told(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    poor = await create_holder(pool, 20)
    for each in (holder, poor, holder):
        _ = await charged(pool, each, amount=20)
    for post in (False, True):
        run = new_rerate(sessions, card("2", "2"), post=post)
        _ = await run.run()
        top = [(payer.account_id, payer.balance) for payer in await run.top_payers()]
        assert top == [(holder.account_id, 940), (poor.account_id, -10)]
        assert [payer.balance for payer in await run.overdrawn()] == [-10]
