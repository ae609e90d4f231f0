"""What a request costs with another card: one entry for it, of the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of
from tests.support.rerates import (
    MODEL,
    USED,
    Asked,
    card,
    charged,
    cost_of,
    expired,
    later_rows,
    newest_rates,
    rerated,
    started_on,
)
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.reports import Period
from tokenbalance.model import Charge, Conditions, Usage

if TYPE_CHECKING:
    from datetime import datetime

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

TIERED = card("1", "2", "tier = { auto = 3, flex = 0.5, priority = 2 }")
WITH_TOOLS = card("1", "1", "calls = { web_search = 10 }")
OFFERED = Asked(card("1", "1", "calls = { shell_search = 0 }"), Conditions(tools=("shell_search",)))


def used(**more: int) -> Usage:
    quantities = {kind.replace("__", ":"): number for kind, number in more.items()}
    return Usage({**USED.quantities, **quantities}, 15)


async def test_a_request_gets_one_entry_of_the_difference(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder)
    totals = await rerated(sessions, card("2", "4"))
    assert await entries_of(pool, holder) == [
        ("grant", 1000, 1000),
        ("charge", -15, 985),
        ("adjustment", -25, 960),
    ]
    assert (await account_of(pool, holder)).balance == 960
    assert (totals.all.requests, totals.all.before, totals.all.after) == (1, 15, 40)
    assert (totals.entries, totals.limited, totals.changed_meanwhile) == (1, 0, 0)
    (row,) = await pool.fetch("SELECT * FROM ledger WHERE kind = 'adjustment'")
    (end,) = await pool.fetch("SELECT * FROM ledger WHERE kind = 'charge'")
    for name in ("account_id", "request_id", "key_id", "endpoint", "model"):
        assert row[name] == end[name]
    assert (row["actor"], row["note"]) == ("cli", "prices of card.toml")
    assert (row["total"], row["quantities"], row["overrun"], row["hold"]) == (0, None, 0, None)
    assert await newest_rates(pool, hold) == {
        "input": "2",
        "output": "4",
        "asked": {"tier": "default"},
    }


async def test_a_second_time_posts_nothing(pool: Pool, sessions: Sessions, holder: Holder) -> None:
    hold = await charged(pool, holder)
    _ = await rerated(sessions, card("2", "4"))
    totals = await rerated(sessions, card("2", "4"))
    assert (totals.entries, totals.all.before, totals.all.after) == (0, 40, 40)
    assert await later_rows(pool, hold) == [("adjustment", -25, True)]


async def test_a_price_that_is_the_same_makes_no_entry(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder)
    totals = await rerated(sessions, card())
    assert (totals.entries, totals.all.requests) == (0, 1)
    assert await later_rows(pool, hold) == []


async def test_another_card_supersedes_the_one_before(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder)
    for rates, cost in ((("2", "4"), 40), (("0.5", "0.5"), 8), (("2", "4"), 40)):
        _ = await rerated(sessions, card(*rates))
        assert await cost_of(pool, hold) == cost
    amounts = [amount for _, amount, _ in await later_rows(pool, hold)]
    assert amounts == [-25, 32, -32]
    assert await Book(pool).settle(hold, USED) == Charge(40, 960, 0)


async def test_a_dry_run_says_the_same_and_changes_nothing(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder)
    said = await rerated(sessions, card("2", "4"), post=False)
    assert await later_rows(pool, hold) == []
    assert said == await rerated(sessions, card("2", "4"))
    assert await later_rows(pool, hold) == [("adjustment", -25, True)]


async def test_the_prices_are_those_of_the_day_of_the_hold(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    old, new = [await charged(pool, holder) for _ in range(2)]
    await started_on(pool, old, "2026-03-01 23:59:59")
    await started_on(pool, new, "2026-03-02")
    later = f"""
[[models]]
match = "{MODEL}"
valid_from = 2026-03-02
input = 3
output = 3
"""
    _ = await rerated(sessions, card("2", "2") + later)
    assert [await cost_of(pool, hold) for hold in (old, new)] == [30, 45]


@pytest.mark.parametrize(
    ("asked", "usage", "cost"),
    [
        # Neither card nor response named a tier, so it was the default one, not `auto`.
        (Asked(), used(), 20),
        (Asked(card()), used(), 20),
        (Asked(None), used(tier__priority=1), 40),
        (Asked(card(), Conditions(tier="auto")), used(tier__flex=1), 10),
        (Asked(card()), used(tier__ultrafast=1), 60),
        # It assumed a factor, so the books would have the default tier.
        (Asked(TIERED), used(), 60),
        (Asked(TIERED), used(tier__default=1), 20),
        (Asked(TIERED, Conditions(tier="priority")), used(), 40),
    ],
)
async def test_the_tier_is_that_of_the_response_or_what_its_absence_means(
    pool: Pool, sessions: Sessions, holder: Holder, asked: Asked, usage: Usage, cost: int
) -> None:
    hold = await charged(pool, holder, usage, asked)
    _ = await rerated(sessions, TIERED)
    assert await cost_of(pool, hold) == cost


async def test_what_was_asked_for_is_what_was_stored_with_the_hold(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    batch = Conditions(is_batch=True)
    hold = await charged(pool, holder, asked=Asked(card("1", "1", "batch = 0.5"), batch))
    _ = await rerated(sessions, card("4", "4", "batch = 0.25"))
    assert await cost_of(pool, hold) == 15
    assert (await newest_rates(pool, hold))["asked"] == {"tier": "default", "is_batch": True}


async def test_fees_are_charged_for_calls_that_nobody_charged_then(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder, used(call__web_search=3))
    _ = await rerated(sessions, WITH_TOOLS)
    assert await cost_of(pool, hold) == 45


@pytest.mark.parametrize("other", [card("0", "0", "calls = { quantum = 9 }"), card("0", "0")])
async def test_a_call_without_a_fee_costs_nothing_as_it_did_then_so_a_rerate_can_be_undone(
    pool: Pool, sessions: Sessions, holder: Holder, other: str
) -> None:
    hold = await charged(pool, holder, used(call__quantum=1), Asked(WITH_TOOLS))
    before = await account_of(pool, holder)
    assert before.balance == 1000 - 15
    _ = await rerated(sessions, other)
    assert await cost_of(pool, hold) in {0, 9}
    totals = await rerated(sessions, WITH_TOOLS)
    assert totals.unpriced == {}
    assert (await account_of(pool, holder)).balance == before.balance


@pytest.mark.parametrize(
    ("asked", "usage", "reason"),
    [
        (Asked(model="other"), used(), "the card has no rates for it"),
        (Asked(model=None), used(), "its model is not known"),
        (Asked(), used(image_tool_input=5), "its image model is not known"),
        (Asked(), used(svg_output=5), "its SVG model is not known"),
        (OFFERED, used(call__shell_search=1), "the card has no fee for shell_search"),
        (
            Asked(card(more="window = { 24h = 0.5 }"), Conditions(window="24h")),
            used(),
            "the card has no factor for the completion window 24h",
        ),
        (
            Asked(TIERED, Conditions(tier="flex")),
            used(tier__flex=1),
            "the card has no factor for the service tier flex",
        ),
    ],
)
async def test_what_has_no_price_is_left_as_it_is_and_named(
    pool: Pool, sessions: Sessions, holder: Holder, asked: Asked, usage: Usage, reason: str
) -> None:
    hold = await charged(pool, holder, usage, asked)
    totals = await rerated(sessions, WITH_TOOLS)
    assert await later_rows(pool, hold) == []
    ((unpriced, cost),) = totals.unpriced.items()
    assert (unpriced.model, unpriced.reason) == (asked.model or "", reason)
    assert (cost.requests, cost.before) == (1, await cost_of(pool, hold))
    assert totals.all.requests == 0


async def test_only_requests_that_ended_and_were_charged_are_rerated(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    voided, lapsed = await charged(pool, holder), await expired(pool, holder)
    other = await create_holder(pool, 100)
    of_other = await charged(pool, other)
    totals = await rerated(sessions, card("2", "2"), account_id=holder.account_id)
    assert totals.all.requests == 2
    assert [await cost_of(pool, hold) for hold in (voided, lapsed, of_other)] == [30, 30, 15]
    assert [*totals.accounts] == [holder.account_id]


async def test_the_period_is_that_of_the_end(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder)
    ended: datetime = await pool.fetchval("SELECT created_at FROM ledger WHERE kind = 'charge'")
    for period, requests in ((Period(until=ended), 0), (Period(since=ended), 1)):
        assert (await rerated(sessions, card("2", "2"), period=period)).all.requests == requests
    assert await cost_of(pool, hold) == 30
