"""What holds take from limits, and what their ends give back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from asyncpg import UniqueViolationError

from tests.support.books import account_of, create_holder, end_leases
from tests.support.limits import backlogs, caller_of, counts, limit_account, limit_key
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.limits import refusal_of
from tokenbalance.model import Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Caller

ALL: Final = {
    "requests_per_minute": 60,
    "tokens_per_minute": 6000,
    "tokens_per_day": 10_000,
    "credits_per_day": 5000,
    "credits_per_week": 6000,
    "credits_per_month": 7000,
    "parallel_requests": 4,
    "credits_total": 9000,
}
TOOK: Final = {
    "tokens_per_day": (0, 300),
    "credits_per_day": (0, 100),
    "credits_per_week": (0, 100),
    "credits_per_month": (0, 100),
    "parallel_requests": (0, 1),
    "credits_total": (0, 100),
}
USED = Usage.counted(20, 30)


@pytest.fixture
def book(pool: Pool) -> Book:
    return Book(pool)


@pytest.fixture
async def holder(pool: Pool, sessions: Sessions) -> Holder:
    holder = await create_holder(pool, 100_000)
    await limit_key(sessions, holder, **ALL)
    return holder


async def place(book: Book, caller: Caller, request_id: str, amount: int = 100) -> Hold | None:
    purpose = Purpose(request_id, "/chat/completions", None)
    return await book.place(caller, purpose, Claim(amount, amount, tokens=3 * amount))


async def placed(book: Book, caller: Caller, request_id: str) -> Hold:
    hold = await place(book, caller, request_id)
    assert hold is not None
    return hold


async def test_a_hold_takes_from_every_limit_and_says_what_they_leave(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, await caller_of(pool, holder), "a")
    assert await counts(pool) == TOOK
    assert await backlogs(pool) == {"requests_per_minute": 1, "tokens_per_minute": 3}
    assert hold.rooms == (
        ("requests", 60, 59, 1_000_000),
        ("tokens", 6000, 5700, 3_000_000),
    )
    assert (hold.is_plain, hold.terms is not None and len(hold.terms.limit_ids or ())) == (False, 8)
    assert (await audit(pool)).violations == []


async def settle(book: Book, hold: Hold) -> None:
    charge = await book.settle(hold, USED)
    assert charge is not None
    assert charge.amount == 50


async def settle_as_another_process(book: Book, hold: Hold) -> None:
    await settle(book, Hold(hold.request_id, hold.account_id, hold.amount))


async def expire(book: Book, hold: Hold) -> None:
    assert await book.expire(hold, USED, orphaned=True)


async def settle_after_a_crash_of_the_database(book: Book, hold: Hold) -> None:
    await book._pool.execute("DELETE FROM open_holds")
    await book._pool.execute("UPDATE accounts SET held = 0")
    await book._pool.execute("UPDATE limits SET reserved = 0, taken_until = '-infinity'")
    await settle(book, hold)


@pytest.mark.parametrize(
    "end", [settle, settle_as_another_process, expire, settle_after_a_crash_of_the_database]
)
async def test_an_end_counts_what_was_used_and_gives_the_rest_back(
    pool: Pool, book: Book, holder: Holder, end: Callable[[Book, Hold], Awaitable[None]]
) -> None:
    hold = await placed(book, await caller_of(pool, holder), "a")
    await end(book, hold)
    assert await counts(pool) == {
        name: (0 if name == "parallel_requests" else 50, 0) for name in TOOK
    }
    left = await backlogs(pool)
    assert left["requests_per_minute"] >= 1
    # What was taken is regained while time passes, but no more than what was used is left.
    assert left["tokens_per_minute"] == pytest.approx(0.5, abs=0.4)
    assert (await audit(pool)).violations == []
    # Repeated, as after a lost result, it changes nothing.
    before = await counts(pool)
    await book.void(hold)
    assert await book.settle(hold, USED) is not None
    assert await counts(pool) == before


async def test_a_void_gives_everything_back_but_the_request(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await book.void(await placed(book, await caller_of(pool, holder), "a"))
    assert await counts(pool) == dict.fromkeys(TOOK, (0, 0))
    left = await backlogs(pool)
    assert left["requests_per_minute"] >= 1
    # It is full again, at the moment of the void.
    assert 0 <= left["tokens_per_minute"] < 2


async def test_what_is_used_beyond_the_hold_counts_too(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, await caller_of(pool, holder), "a")
    _ = await book.settle(hold, Usage.counted(400, 200))
    assert (await counts(pool))["tokens_per_day"] == (600, 0)
    assert (await backlogs(pool))["tokens_per_minute"] >= 6


async def test_a_lease_that_lapses_gives_back_as_well(
    pool: Pool, book: Book, holder: Holder
) -> None:
    caller = await caller_of(pool, holder)
    for number in range(4):
        _ = await placed(book, caller, f"tb_{number}")
    assert await place(book, caller, "tb_5") is None
    await end_leases(pool)
    for known in await book.lapsed(10):
        assert await book.expire(known.hold, known.usage)
    assert await counts(pool) == dict.fromkeys(TOOK, (0, 0))
    assert await place(book, caller, "tb_5") is not None


@pytest.mark.parametrize("name", ALL)
async def test_nothing_is_taken_where_one_limit_refuses(
    pool: Pool, sessions: Sessions, book: Book, holder: Holder, name: str
) -> None:
    fits = {"requests": 0, "holds": 0, "tokens": 299, "credits": 99}
    unit = (await pool.fetchval("SELECT unit FROM limits WHERE name = $1", name)) or ""
    await limit_account(sessions, holder, **{**ALL, name: fits[unit]})
    caller = await caller_of(pool, holder)
    holds = await asyncio.gather(*(place(book, caller, f"tb_{number}") for number in range(3)))
    assert holds == [None, None, None]
    assert set((await counts(pool)).values()) == {(0, 0)}
    assert await pool.fetchval("SELECT count(*) FROM limits WHERE taken_until > now()") == 0
    assert (await account_of(pool, holder)).held == 0
    refusal = refusal_of(await book.limits_of(caller), 100, 300)
    assert refusal is not None
    assert (refusal.limit.subject, refusal.limit.name) == ("account", name)
    assert refusal.is_too_large
    # One that takes less of it fits beside one that does not.
    assert await place(book, caller, "small", 1) is not None or unit in {"requests", "holds"}


async def test_only_the_newest_version_of_its_limits_places_a_hold(
    pool: Pool, sessions: Sessions, book: Book
) -> None:
    holder = await create_holder(pool, 1000)
    unlimited = await caller_of(pool, holder)
    await limit_key(sessions, holder, models=["gpt-*"])
    limited = await caller_of(pool, holder)
    assert await place(book, unlimited, "a") is None
    hold = await placed(book, limited, "b")
    # Nothing is counted, so that it costs no more than one without limits.
    assert (hold.is_plain, hold.rooms) == (True, ())
    await limit_key(sessions, holder, credits_total=500)
    assert await place(book, limited, "c") is None
    await limit_key(sessions, holder)
    assert await place(book, limited, "d") is None
    assert await place(book, await caller_of(pool, holder), "e") is not None
    assert (await audit(pool)).violations == []


async def test_an_account_with_something_due_places_nothing(pool: Pool, book: Book) -> None:
    holder = await create_holder(pool, 1000)
    caller = await caller_of(pool, holder)
    await pool.execute("UPDATE accounts SET next_expiry = now()")
    assert await asyncio.gather(place(book, caller, "a"), place(book, caller, "b")) == [None, None]
    await pool.execute("UPDATE accounts SET next_expiry = now() + interval '1 hour'")
    assert await place(book, caller, "c") is not None


async def test_a_removed_limit_is_owed_nothing(
    pool: Pool, sessions: Sessions, book: Book, holder: Holder
) -> None:
    hold = await placed(book, await caller_of(pool, holder), "a")
    await limit_key(sessions, holder)
    await limit_key(sessions, holder, parallel_requests=1)
    await settle(book, hold)
    assert await counts(pool) == {"parallel_requests": (0, 0)}
    assert (await audit(pool)).violations == []


async def test_holds_of_two_windows_end_in_one_batch(
    pool: Pool, book: Book, holder: Holder
) -> None:
    caller = await caller_of(pool, holder)
    holds = [await placed(book, caller, f"tb_{number}") for number in range(3)]
    # The first was placed in a window that has ended since.
    await pool.execute(
        "UPDATE open_holds SET created_at = created_at - interval '1 day' WHERE request_id = 'tb_0'"
    )
    await pool.execute(
        "UPDATE limits SET window_start = now() - interval '1 hour',"
        " reserved = reserved - CASE unit WHEN 'tokens' THEN 300 ELSE 100 END WHERE name IN"
        " ('tokens_per_day', 'credits_per_day', 'credits_per_week', 'credits_per_month')"
    )
    assert (await audit(pool)).violations == []
    charges = await asyncio.gather(*(book.settle(hold, USED) for hold in holds))
    assert None not in charges
    assert await counts(pool) == {
        "tokens_per_day": (100, 0),
        "credits_per_day": (100, 0),
        "credits_per_week": (100, 0),
        "credits_per_month": (100, 0),
        "parallel_requests": (0, 0),
        "credits_total": (150, 0),
    }


async def test_end_users_have_counts_of_their_own(
    pool: Pool, sessions: Sessions, book: Book
) -> None:
    holder = await create_holder(pool, 1000)
    await limit_key(sessions, holder, credits_total=500)
    caller = await caller_of(pool, holder)
    callers: list[Caller] = []
    for name in ("end:a", "end:b"):
        limits = {"parallel_requests": 1, "credits_per_day": 150, "models": ["gpt-*"]}
        for _ in range(2):
            await book.limits.open_end_user(holder.account_id, name, limits)
        assert caller.policy is not None
        callers.append(replace(caller, policy=caller.policy.of_end_user(name, None)))
    held = [await place(book, caller, f"tb_{number}") for number, caller in enumerate(callers)]
    assert None not in held
    refused = await asyncio.gather(*(place(book, caller, "tb_9", 1) for caller in callers))
    assert refused == [None, None]
    await book.limits.open_end_user(holder.account_id, "end:a", {"parallel_requests": 2})
    assert await place(book, callers[0], "tb_2") is not None
    assert [
        (state.subject, state.name, state.amount, state.reserved)
        for state in await book.limits_of(callers[0])
    ] == [
        (f"key:{holder.key_id}", "credits_total", 500, 300),
        ("end:a", "parallel_requests", 2, 2),
    ]
    assert (await audit(pool)).violations == []


async def test_holds_of_one_batch_take_from_the_limits_of_their_own_subjects(
    pool: Pool, sessions: Sessions, book: Book
) -> None:
    holder = await create_holder(pool, 1000)
    await limit_key(sessions, holder, credits_total=500)
    caller = await caller_of(pool, holder)
    assert caller.policy is not None
    policy = caller.policy
    ends: list[Caller] = []
    for name in ("end:a", "end:b"):
        await book.limits.open_end_user(holder.account_id, name, {"parallel_requests": 2})
        ends.append(replace(caller, policy=policy.of_end_user(name, None)))
    await pool.execute("DELETE FROM limits WHERE subject = 'end:b'")
    first = await placed(book, caller, "taken")
    batch = [(caller, "a"), (ends[0], "b"), (ends[0], "c"), (ends[1], "d")]
    holds = await asyncio.gather(*(place(book, *each, 10) for each in batch))
    own = first.terms and first.terms.limit_ids
    end = await pool.fetchval("SELECT max(id) FROM limits")
    assert own is not None
    assert [hold and hold.terms and hold.terms.limit_ids for hold in holds] == [
        own,
        (*own, end),
        (*own, end),
        own,
    ]
    assert await counts(pool) == {"credits_total": (0, 140), "parallel_requests": (0, 2)}
    # One that does not fit, or cannot be placed, takes nothing with the others.
    batch = [(ends[0], "e"), (caller, "f"), (caller, "taken")]
    held = await asyncio.gather(*(place(book, *each, 10) for each in batch), return_exceptions=True)
    assert held[0] is None
    assert isinstance(held[1], Hold)
    assert isinstance(held[2], UniqueViolationError)
    assert await counts(pool) == {"credits_total": (0, 150), "parallel_requests": (0, 2)}
    assert (await audit(pool)).violations == []
