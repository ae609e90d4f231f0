"""Corrections and refunds of requests that are rerated, before it and after."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.books import account_of, create_holder
from tests.support.rerates import (
    MODEL,
    USED,
    Asked,
    card,
    charged,
    cost_of,
    expired,
    later_rows,
    refunded,
    rerated,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import CreditError, NothingToRefund, RefundTooLarge
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import charge_for
from tokenbalance.model import Charge, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Hold

TRUE = Usage({"input": 10, "output": 95}, 105)


async def correct(pool: Pool, hold: Hold, usage: Usage = TRUE) -> Charge | None:
    return await Book(pool).settle(hold, usage)


async def overrun_of(pool: Pool, hold: Hold) -> int:
    overrun: int = await pool.fetchval(
        "SELECT sum(overrun)::bigint FROM ledger WHERE request_id = $1", hold.request_id
    )
    return overrun


async def test_a_correction_before_a_rerate_is_part_of_the_usage(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    _ = await correct(pool, hold)
    _ = await rerated(sessions, card("2", "2"))
    assert await later_rows(pool, hold) == [
        ("adjustment", -90, False),
        ("adjustment", -105, True),
    ]
    assert await overrun_of(pool, hold) == 5


async def test_a_correction_after_a_rerate_is_charged_at_its_rates(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    _ = await rerated(sessions, card("2", "2"))
    assert await correct(pool, hold) == Charge(210, 790, 0)
    assert await correct(pool, hold) == Charge(210, 790, 0)
    assert await later_rows(pool, hold) == [
        ("adjustment", -15, True),
        ("adjustment", -180, False),
    ]
    # What the price added is no overrun: 210 - 15 - 100.
    assert await overrun_of(pool, hold) == 95
    totals = await rerated(sessions, card("2", "2"))
    assert totals.entries == 0
    _ = await rerated(sessions, card("1", "1"))
    assert await cost_of(pool, hold) == 105


async def test_a_request_that_failed_costs_nothing_at_whatever_price(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    _ = await rerated(sessions, card("2", "2"))
    await Book(pool).void(hold)
    assert await cost_of(pool, hold) == 0
    assert (await account_of(pool, holder)).balance == 1000
    assert (await rerated(sessions, card("3", "3"))).entries == 0


async def test_what_is_left_of_a_charge_to_refund_follows_its_price(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await charged(pool, holder)
    _ = await rerated(sessions, card("2", "2"))
    await refunded(sessions, hold, 20)
    with pytest.raises(RefundTooLarge, match="only 10 credits"):
        await refunded(sessions, hold, 11)
    await refunded(sessions, hold)
    with pytest.raises(NothingToRefund):
        await refunded(sessions, hold)
    assert (await account_of(pool, holder)).balance == 1000


@pytest.mark.parametrize(
    ("refund", "rate", "cost"),
    [
        (5, "0.4", 6),
        # 15 credits were paid, 5 are due, and of the 10 between 8 were given back.
        (8, "0.3", 8),
        (15, "0.3", 15),
        (15, "2", 30),
    ],
)
async def test_what_a_refund_gave_back_a_price_that_falls_does_not_give_back_again(
    pool: Pool, sessions: Sessions, holder: Holder, refund: int, rate: str, cost: int
) -> None:
    hold = await charged(pool, holder)
    await refunded(sessions, hold, refund)
    totals = await rerated(sessions, card(rate, rate))
    assert await cost_of(pool, hold) == cost
    assert totals.limited == (refund > 6 and rate == "0.3")
    assert (await account_of(pool, holder)).balance == 1000 - cost + refund
    assert (await rerated(sessions, card(rate, rate))).entries == 0
    if cost == refund:
        with pytest.raises(NothingToRefund):
            await refunded(sessions, hold)


async def test_a_correction_after_a_rerate_that_refunds_limited_is_charged_as_it_is(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    await refunded(sessions, hold)
    _ = await rerated(sessions, card("0.3", "0.3"))
    assert await cost_of(pool, hold) == 15
    other = await expired(pool, holder)
    await refunded(sessions, other, 10)
    _ = await rerated(sessions, card("0.3", "0.3"))
    assert await cost_of(pool, other) == 10
    for each in (hold, other):
        _ = await correct(pool, each, Usage({"input": 3}, 3))
    # The first was never rerated, since nothing was left to give back.
    assert [await cost_of(pool, each) for each in (hold, other)] == [3, 1]
    _ = await rerated(sessions, card("0.3", "0.3"))
    # More was refunded than they cost, as before.
    assert [await cost_of(pool, each) for each in (hold, other)] == [3, 1]


cards = st.sampled_from([("1", "1"), ("2", "3"), ("0.1", "0.4"), ("7.5", "0")])
usages = st.tuples(st.integers(0, 60), st.integers(0, 90)).map(
    lambda used: Usage({"input": used[0], "output": used[1]}, sum(used))
)
steps = st.lists(st.one_of(cards, usages, st.integers(1, 40)), max_size=7)
"""The prices of a card, the true usage, and a refund."""


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(is_priced=st.booleans(), is_expired=st.booleans(), steps=steps)
async def test_the_books_are_sound_whatever_comes_after_an_end(
    pool: Pool,
    sessions: Sessions,
    *,
    is_priced: bool,
    is_expired: bool,
    steps: list[tuple[str, str] | Usage | int],
) -> None:
    holder = await create_holder(pool, 100)
    asked = Asked(card("2", "2") if is_priced else None)
    hold = await (expired if is_expired else charged)(pool, holder, USED, asked)
    usage, is_correctable, was_refunded = USED, is_expired, False
    for step in steps:
        match step:
            case Usage():
                _ = await correct(pool, hold, step)
                usage, is_correctable = (step if is_correctable else usage), False
            case int():
                with suppress(CreditError):
                    await refunded(sessions, hold, step)
                    was_refunded = True
            case _:
                text = card(*step)
                _ = await rerated(sessions, text, account_id=holder.account_id)
                again = await rerated(sessions, text, account_id=holder.account_id)
                assert again.entries == 0
                if not was_refunded:
                    rates = read_rate_card(text).rates_for(MODEL)
                    assert await cost_of(pool, hold) == charge_for(usage, rates)
    assert (await audit(pool)).violations == []
