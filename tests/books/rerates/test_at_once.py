"""Rerates that run at the same time, that are interrupted, and that others come between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, placed
from tests.support.locks import locked, until_blocked
from tests.support.rerates import (
    USED,
    card,
    charged,
    cost_of,
    expired,
    later_rows,
    new_rerate,
    refunded,
    rerated,
)
from tokenbalance.books.ledger import rerate
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Hold


class Interrupted(Exception):
    """Stops a rerate after its first page."""


ACCOUNTS = "SELECT FROM accounts FOR NO KEY UPDATE"
DOUBLE = card("2", "2")


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerate, "PAGE_ROWS", 3)
    monkeypatch.setattr(rerate, "_ACCOUNTS_AT_ONCE", 2)


async def test_every_request_of_every_account_is_found_page_by_page(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    holders = [holder, *[await create_holder(pool, 1000) for _ in range(4)]]
    holds = [await charged(pool, each) for each in holders for _ in range(7)]
    totals = await rerated(sessions, DOUBLE)
    assert (totals.all.requests, totals.entries) == (35, 35)
    assert {await cost_of(pool, hold) for hold in holds} == {30}
    assert {(await account_of(pool, each)).balance for each in holders} == {790}


async def test_two_at_once_post_each_difference_once(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    holds = [await charged(pool, holder) for _ in range(10)]
    async with locked(pool, ACCOUNTS):
        runs = [asyncio.create_task(rerated(sessions, DOUBLE)) for _ in range(3)]
        # All have read the same page.
        await until_blocked(pool, 3)
    totals = await asyncio.gather(*runs)
    assert sum(each.entries for each in totals) == 10
    assert {each.all.after for each in totals} == {300}
    for hold in holds:
        assert await later_rows(pool, hold) == [("adjustment", -15, True)]
    assert (await account_of(pool, holder)).balance == 700


async def test_one_that_was_interrupted_goes_on_when_it_is_run_again(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    holds = [await charged(pool, holder) for _ in range(8)]

    def end(requests: int) -> None:
        assert requests == 3
        raise Interrupted

    with pytest.raises(Interrupted):
        _ = await new_rerate(sessions, DOUBLE, report=end).run()
    assert [len(await later_rows(pool, hold)) for hold in holds].count(1) == 3
    assert (await audit(pool)).violations == []
    assert (await rerated(sessions, DOUBLE)).entries == 5
    assert {await cost_of(pool, hold) for hold in holds} == {30}


async def _interfere(
    pool: Pool,
    run: Callable[[], Coroutine[None, None, object]],
    meanwhile: Callable[[], Coroutine[None, None, object]],
) -> None:
    """Let two wait for the account, of which the second has read its rows before the first ends."""
    async with locked(pool, ACCOUNTS):
        first = asyncio.create_task(meanwhile())
        await until_blocked(pool, 1)
        second = asyncio.create_task(run())
        await until_blocked(pool, 2)
    _ = await asyncio.gather(first, second)


async def test_a_refund_that_comes_between_reading_and_posting_counts(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    holds = [await charged(pool, holder) for _ in range(3)]
    await _interfere(
        pool,
        lambda: rerated(sessions, card("0.2", "0.2")),
        lambda: refunded(sessions, holds[1]),
    )
    assert [await cost_of(pool, hold) for hold in holds] == [3, 15, 3]
    assert (await account_of(pool, holder)).balance == 1000 - 6


async def test_a_correction_that_comes_between_reading_and_posting_counts(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    await _interfere(
        pool,
        lambda: rerated(sessions, DOUBLE),
        lambda: Book(pool).settle(hold, Usage({"input": 40}, 40)),
    )
    assert await cost_of(pool, hold) == 80


async def test_a_rerate_that_comes_before_a_correction_that_waits_counts(
    pool: Pool, sessions: Sessions, holder: Holder
) -> None:
    hold = await expired(pool, holder)
    await _interfere(
        pool,
        lambda: Book(pool).settle(hold, Usage({"input": 40}, 40)),
        lambda: rerated(sessions, DOUBLE),
    )
    assert await cost_of(pool, hold) == 80


async def test_requests_run_meanwhile(pool: Pool, sessions: Sessions, holder: Holder) -> None:
    book = Book(pool)
    holds = [await charged(pool, holder) for _ in range(9)]

    async def use(number: int) -> Hold:
        hold = await placed(book, holder, f"later_{number}", 20)
        assert await book.settle(hold, USED)
        return hold

    later, _ = await asyncio.gather(
        asyncio.gather(*(use(number) for number in range(20))), rerated(sessions, DOUBLE)
    )
    assert {await cost_of(pool, hold) for hold in holds} == {30}
    assert {await cost_of(pool, hold) for hold in later} <= {15, 30}
