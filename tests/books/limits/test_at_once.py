"""Four hundred holds at once, over two processes: as many are placed as the limit says."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.books import account_of, create_holder
from tests.support.limits import caller_of, counts, limit_account, limit_key
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Claim, Purpose, Usage
from tokenbalance.model.limits import COUNTED, MINUTE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Caller, Hold

AT_ONCE: Final = 400
FITTING: Final = 100
TOKENS: Final = 30
CREDITS: Final = 10
OF_EACH: Final = {"requests": 1, "holds": 1, "tokens": TOKENS, "credits": CREDITS}


@pytest.fixture
async def books(dsn: str, pool: Pool) -> AsyncIterator[tuple[Book, Book]]:
    async with open_pool(dsn, 8) as other:
        yield Book(pool), Book(other)


async def place_all(books: tuple[Book, Book], caller: Caller, first: int = 0) -> list[Hold]:
    """Try to place many holds at once, half of them in each process."""
    claim = Claim(CREDITS, CREDITS, tokens=TOKENS)
    holds = await asyncio.gather(
        *(
            book.place(caller, Purpose(f"tb_{number}", "/chat/completions", None), claim)
            for number, book in zip(range(first, first + AT_ONCE), cycle(books), strict=False)
        )
    )
    return [hold for hold in holds if hold is not None]


def limit_for_all(name: str) -> int:
    """A limit into which so many holds fit at once."""
    return FITTING * OF_EACH[COUNTED[name][0]]


async def regained(pool: Pool) -> int:
    """How many more holds fit into a rate while the first are placed, at most."""
    first, last = (
        await pool.fetch("SELECT min(created_at) AS first, max(created_at) AS last FROM open_holds")
    )[0]
    return int((last - first).total_seconds() * FITTING / 60)


async def expect_as_many_as_fit(pool: Pool, holds: list[Hold], *, is_rate: bool) -> None:
    if is_rate:
        assert FITTING <= len(holds) <= FITTING + await regained(pool)
    else:
        assert len(holds) == FITTING
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize("name", COUNTED)
async def test_as_many_are_placed_as_a_limit_says(
    pool: Pool, sessions: Sessions, books: tuple[Book, Book], name: str
) -> None:
    holder = await create_holder(pool, 1_000_000)
    await limit_key(sessions, holder, **{name: limit_for_all(name)})
    holds = await place_all(books, await caller_of(pool, holder))
    await expect_as_many_as_fit(pool, holds, is_rate=COUNTED[name][1] == MINUTE)
    assert (await account_of(pool, holder)).held == len(holds) * CREDITS


async def test_of_five_limits_that_are_nested_the_tightest_binds(
    pool: Pool, sessions: Sessions, books: tuple[Book, Book]
) -> None:
    holder = await create_holder(pool, 1_000_000)
    wide = dict.fromkeys(("tokens_per_day", "credits_per_week"), 1_000_000)
    await limit_account(sessions, holder, requests_per_minute=350, **wide)
    await limit_key(
        sessions, holder, parallel_requests=150, credits_total=FITTING * CREDITS + CREDITS - 1
    )
    caller = await caller_of(pool, holder)
    holds = await place_all(books, caller)
    await expect_as_many_as_fit(pool, holds, is_rate=False)
    assert await counts(pool) == {
        "tokens_per_day": (0, FITTING * TOKENS),
        "credits_per_week": (0, FITTING * CREDITS),
        "parallel_requests": (0, FITTING),
        "credits_total": (0, FITTING * CREDITS),
    }
    await end_all(books, holds)
    assert set((await counts(pool)).values()) == {
        (FITTING // 2 * 7, 0),
        (0, 0),
    }
    assert (await audit(pool)).violations == []


async def end_all(books: tuple[Book, Book], holds: list[Hold]) -> None:
    """Settle half of the holds and void the others, all at once, in either process."""
    await asyncio.gather(
        *(
            book.void(hold) if number % 2 else book.settle(hold, Usage.counted(3, 4))
            for number, (hold, book) in enumerate(zip(holds, cycle(books), strict=False))
        )
    )


async def test_keys_of_one_account_share_its_limit_and_others_beside_them_do_not(
    pool: Pool, sessions: Sessions, books: tuple[Book, Book]
) -> None:
    limited, free = await create_holder(pool, 1_000_000), await create_holder(pool, 1_000_000)
    await limit_account(sessions, limited, parallel_requests=FITTING)
    callers = await caller_of(pool, limited), await caller_of(pool, free)
    found = await asyncio.gather(
        place_all(books, callers[0]), place_all(books, callers[1], AT_ONCE)
    )
    assert [len(holds) for holds in found] == [FITTING, AT_ONCE]
    assert {hold.is_plain for hold in found[1]} == {True}
    assert (await audit(pool)).violations == []
