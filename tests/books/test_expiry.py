"""Leases, what the sweep does to holds, corrections, and tombstones."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.books import (
    account_of,
    charges_of,
    create_holder,
    end_leases,
    entries_of,
    hold_states,
    place,
    placed,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book, Known, UnknownHold
from tokenbalance.database import statements
from tokenbalance.model import Charge, Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

KNOWN = Usage(input=7, output=3, total=10, estimated=True)
ENDED_S = -1.0
ALIVE_S = 60.0
PATIENCE_S = 20.0


@pytest.fixture
async def book(pool: Pool) -> AsyncIterator[Book]:
    """A book that is sound after each of these tests."""
    yield Book(pool)
    assert (await audit(pool)).violations == []


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


def purpose(request_id: str) -> Purpose:
    return Purpose(request_id, "/chat/completions", "gpt-4o-mini")


@asynccontextmanager
async def locked(pool: Pool, table: str, condition: str = "true") -> AsyncGenerator[None]:
    """Keep rows as another session does that has updated them and not yet committed."""
    async with pool.acquire() as session, session.transaction():
        rows = await session.fetch(f"SELECT FROM {table} WHERE {condition} FOR NO KEY UPDATE")
        assert rows
        yield


async def blocked(pool: Pool, sessions: int) -> None:
    """Wait until so many sessions wait for a lock."""
    count = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(PATIENCE_S):
        while await pool.fetchval(count) < sessions:
            await asyncio.sleep(0.005)


async def leave_tombstone(book: Book, holder: Holder, request_id: str) -> None:
    await book.leave_tombstone(holder.caller, purpose(request_id))


async def expired(pool: Pool, book: Book, holder: Holder, request_id: str = "a") -> Hold:
    """A hold of 60 that was charged 10 when its process was gone."""
    hold = await placed(book, holder, request_id, 60)
    await end_leases(pool)
    assert await book.expire(hold, KNOWN)
    return hold


# Leases.


async def test_a_lease_that_has_not_ended_is_not_expired(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    assert await book.lapsed(10) == []
    assert not await book.expire(hold, KNOWN)
    assert await hold_states(pool, holder) == ["open"]
    assert (await account_of(pool, holder)).held == 60


async def test_a_lease_lasts_as_long_as_the_book_says(pool: Pool, holder: Holder) -> None:
    await placed(Book(pool, lease_s=1000), holder, "a", 60)
    lease_s = await pool.fetchval("SELECT extract(epoch FROM lease_until - created_at) FROM holds")
    assert lease_s == 1000


async def test_an_expired_hold_is_charged_what_is_known_and_flagged(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    assert await book.expire(hold, KNOWN)
    assert await hold_states(pool, holder) == ["expired"]
    assert (await account_of(pool, holder)).held == 0
    (entry,) = await charges_of(pool, holder)
    assert (entry["amount"], entry["balance_after"], entry["estimated"]) == (-10, 90, True)
    assert (entry["input"], entry["output"], entry["overrun"]) == (7, 3, 0)


async def test_the_hold_of_a_process_that_is_known_to_be_gone_is_expired_within_its_lease(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    assert await book.expire(hold, KNOWN, orphaned=True)
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_hold_expires_once(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    ended = await asyncio.gather(*(book.expire(hold, KNOWN) for _ in range(6)))
    assert sum(ended) == 1
    assert (await account_of(pool, holder)).balance == 90


async def test_a_lapsed_hold_comes_with_the_input_that_was_estimated_when_it_was_placed(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await book.place(holder.caller, purpose("a"), Claim(60, 60, known_input=12))
    assert hold is not None
    await end_leases(pool)
    usage = Usage(input=12, total=12, estimated=True)
    assert await book.lapsed(10) == [Known(hold, usage)]
    assert await book.known(holder.account_id, "a") == Known(hold, usage)


async def test_the_longest_lapsed_come_first_and_no_more_than_asked_for(
    pool: Pool, book: Book, holder: Holder
) -> None:
    for number, request_id in enumerate("abc"):
        await placed(book, holder, request_id, 10)
        await pool.execute(
            "UPDATE holds SET lease_until = now() - make_interval(hours => $1)"
            " WHERE request_id = $2",
            number + 1,
            request_id,
        )
    assert [known.hold.request_id for known in await book.lapsed(2)] == ["c", "b"]


async def test_ended_holds_do_not_lapse(pool: Pool, book: Book, holder: Holder) -> None:
    await book.void(await placed(book, holder, "a", 10))
    _ = await book.settle(await placed(book, holder, "b", 10), Usage(total=5))
    _ = await expired(pool, book, holder, "c")
    await end_leases(pool)
    assert await book.lapsed(10) == []


async def test_what_another_session_is_ending_is_skipped(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await placed(book, holder, "a", 10)
    await placed(book, holder, "b", 10)
    await end_leases(pool)
    async with locked(pool, "holds", "request_id = 'a'"):
        assert [known.hold.request_id for known in await book.lapsed(10)] == ["b"]
    assert len(await book.lapsed(10)) == 2


# Renewal.


async def test_renewing_extends_the_lease_and_stores_what_is_known(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    await book.renew([(hold, Usage(input=4, output=9, total=13))])
    assert await book.lapsed(10) == []
    known = await book.known(holder.account_id, "a")
    assert known.usage == Usage(input=4, output=9, total=13, estimated=True)


async def test_renewing_with_nothing_new_leaves_what_is_known(
    pool: Pool, book: Book, holder: Holder
) -> None:
    first, second = await placed(book, holder, "a", 20), await placed(book, holder, "b", 20)
    await book.renew([(first, KNOWN), (second, KNOWN)])
    await end_leases(pool)
    await book.renew([(first, None), (second, Usage(input=8, output=5))])
    assert await book.lapsed(10) == []
    assert (await book.known(holder.account_id, "a")).usage == KNOWN
    assert (await book.known(holder.account_id, "b")).usage.total == 13


async def test_renewing_reaches_the_holds_of_every_account_and_no_others(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    holds = [await placed(book, owner, f"of {owner.account_id}", 10) for owner in (holder, other)]
    left = await placed(book, holder, "left", 10)
    await end_leases(pool)
    await book.renew([(hold, None) for hold in holds])
    assert [known.hold for known in await book.lapsed(10)] == [left]


async def test_renewing_nothing_is_nothing(book: Book) -> None:
    await book.renew([])


async def test_a_hold_that_is_renewed_after_it_was_listed_as_lapsed_is_not_expired(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await placed(book, holder, "a", 60)
    await end_leases(pool)
    (lapsed,) = await book.lapsed(10)
    await book.renew([(lapsed.hold, None)])
    assert not await book.expire(lapsed.hold, lapsed.usage)
    assert await hold_states(pool, holder) == ["open"]


async def test_an_expiry_that_waits_for_a_renewal_finds_it(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    async with pool.acquire() as session, session.transaction():
        await session.execute(
            statements.RENEW, [holder.account_id], ["a"], [None], [None], book.lease_s
        )
        expiry = asyncio.create_task(book.expire(hold, KNOWN))
        await blocked(pool, 1)
    assert not await expiry
    assert await hold_states(pool, holder) == ["open"]


async def test_an_ended_hold_is_not_renewed(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await expired(pool, book, holder)
    await book.renew([(hold, Usage(input=1, output=1))])
    assert await hold_states(pool, holder) == ["expired"]
    assert await pool.fetchval("SELECT lease_until < now() FROM holds")
    assert (await book.known(holder.account_id, "a")).usage.total == 0


# Expiry against settlement.


@pytest.mark.parametrize("first", ["settle", "expire"])
async def test_of_an_expiry_and_a_settlement_at_once_the_first_wins_and_the_true_usage_is_charged(
    pool: Pool, book: Book, holder: Holder, first: str
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    ends = {
        "settle": lambda: book.settle(hold, Usage(input=5, output=20, total=25)),
        "expire": lambda: book.expire(hold, KNOWN),
    }
    second = "expire" if first == "settle" else "settle"

    async def run(end: str) -> object:
        return await ends[end]()

    # The first has changed the hold and waits for the account; the second waits for the hold.
    async with locked(pool, "accounts"):
        tasks = {first: asyncio.create_task(run(first))}
        await blocked(pool, 1)
        tasks[second] = asyncio.create_task(run(second))
        await blocked(pool, 2)
    assert await tasks["settle"] == Charge(25, 75, 0)
    assert await tasks["expire"] is (first == "expire")
    assert (await account_of(pool, holder)).balance == 75
    (state,) = await hold_states(pool, holder)
    amounts = [amount for _, amount, _ in await entries_of(pool, holder)]
    expected = {"settle": ("settled", [100, -25]), "expire": ("expired", [100, -10, -15])}
    assert (state, amounts) == expected[first]


async def test_holds_that_are_expired_and_settled_at_random_all_cost_what_they_used(
    pool: Pool, book: Book
) -> None:
    holder = await create_holder(pool, 10_000)
    holds = [await placed(book, holder, f"r{number}", 20) for number in range(30)]
    await end_leases(pool)

    async def end(hold: Hold) -> bool:
        charge, was_expired = await asyncio.gather(
            book.settle(hold, Usage(output=13, total=13)), book.expire(hold, KNOWN)
        )
        assert charge is not None
        assert charge.amount == 13
        return was_expired

    was_expired = await asyncio.gather(*(end(hold) for hold in holds))
    states = await hold_states(pool, holder)
    assert states.count("expired") == sum(was_expired)
    assert states.count("settled") == 30 - sum(was_expired)
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (10_000 - 30 * 13, 0)


# Corrections.


@pytest.mark.parametrize("used", [4, 25, 130])
async def test_true_usage_after_an_expiry_is_entered_as_one_adjustment(
    pool: Pool, book: Book, holder: Holder, used: int
) -> None:
    hold = await expired(pool, book, holder)
    usage = Usage(input=1, cached_input=1, output=used - 1, reasoning=2, total=used)
    charges = [await book.settle(hold, usage) for _ in range(2)]
    charges += await asyncio.gather(*(book.settle(hold, usage) for _ in range(4)))
    assert set(charges) == {Charge(used, 100 - used, 0)}
    assert await entries_of(pool, holder) == [
        ("grant", 100, 100),
        ("charge", -10, 90),
        ("adjustment", 10 - used, 100 - used),
    ]
    assert await hold_states(pool, holder) == ["expired"]
    (record,) = await charges_of(pool, holder)
    assert (record["input"], record["output"], record["total"]) == (1, used - 1, used)
    assert (record["cached_input"], record["reasoning"]) == (1, 2)
    assert record["overrun"] == max(used - 60, 0)


async def test_corrections_at_once_are_entered_once(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await expired(pool, book, holder)
    async with locked(pool, "accounts"):
        settling = [book.settle(hold, Usage(total=used)) for used in (25, 26, 27, 28)]
        tasks = [asyncio.create_task(settle) for settle in settling]
        await blocked(pool, 4)
    (charge,) = set(await asyncio.gather(*tasks))
    assert charge is not None
    assert await entries_of(pool, holder) == [
        ("grant", 100, 100),
        ("charge", -10, 90),
        ("adjustment", 10 - charge.amount, charge.balance),
    ]


async def test_true_usage_that_equals_the_estimate_is_recorded_without_an_entry(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await expired(pool, book, holder)
    assert await book.settle(hold, Usage(input=2, output=8, total=10)) == Charge(10, 90, 0)
    assert await entries_of(pool, holder) == [("grant", 100, 100), ("charge", -10, 90)]
    (record,) = await charges_of(pool, holder)
    assert (record["input"], record["output"]) == (2, 8)
    assert await pool.fetchval("SELECT NOT estimated AND corrected_at IS NOT NULL FROM usage")


async def test_the_first_correction_stands(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await expired(pool, book, holder)
    _ = await book.settle(hold, Usage(total=10))
    assert await book.settle(hold, Usage(total=40)) == Charge(10, 90, 0)
    assert (await account_of(pool, holder)).balance == 90


async def test_a_settled_hold_is_not_corrected(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await placed(book, holder, "a", 60)
    _ = await book.settle(hold, Usage(total=25))
    assert await book.settle(hold, Usage(total=40)) == Charge(25, 75, 0)
    await end_leases(pool)
    assert not await book.expire(hold, KNOWN, orphaned=True)
    assert (await account_of(pool, holder)).balance == 75


async def test_voiding_an_expired_hold_takes_its_charge_back_once(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await expired(pool, book, holder)
    await book.void(hold)
    await book.void(hold)
    assert await hold_states(pool, holder) == ["expired"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)
    kinds = [kind for kind, _, _ in await entries_of(pool, holder)]
    assert kinds == ["grant", "charge", "adjustment"]


async def test_what_was_never_placed_is_unknown(pool: Pool, book: Book, holder: Holder) -> None:
    hold = Hold("a", holder.account_id, 10)
    with pytest.raises(UnknownHold, match="a"):
        _ = await book.settle(hold, Usage(total=5))
    with pytest.raises(UnknownHold, match="a"):
        _ = await book.known(holder.account_id, "a")
    assert not await book.expire(hold, KNOWN, orphaned=True)
    await book.void(hold)
    await book.renew([(hold, None)])
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)


async def test_a_request_is_unknown_to_other_accounts(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    _ = await placed(book, holder, "a", 60)
    with pytest.raises(UnknownHold):
        _ = await book.settle(Hold("a", other.account_id, 60), Usage(total=5))
    assert await hold_states(pool, holder) == ["open"]


# Forestalling.


async def test_what_has_a_tombstone_cannot_be_placed_any_more(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await leave_tombstone(book, holder, "a")
    await leave_tombstone(book, holder, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await place(book, holder, "a", 60)
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0


async def test_a_tombstone_for_what_was_placed_voids_it(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await leave_tombstone(book, holder, "a")
    await leave_tombstone(book, holder, "a")
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0
    assert await book.settle(hold, Usage(total=5)) is None


async def test_a_place_that_is_overtaken_by_its_tombstone_holds_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async with locked(pool, "accounts"):
        late = asyncio.create_task(place(book, holder, "a", 60))
        await blocked(pool, 1)
        # It changes no account, and so need not wait.
        await leave_tombstone(book, holder, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await late
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0


async def test_a_tombstone_waits_for_a_place_that_is_not_committed_yet(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async with pool.acquire() as session, session.transaction():
        await session.execute(
            statements.PLACE,
            *(holder.account_id, "a", holder.key_id, 60, 60),
            *("/chat/completions", None, 0, book.lease_s, None, 0, None),
        )
        leaving = asyncio.create_task(leave_tombstone(book, holder, "a"))
        await blocked(pool, 1)
    await leaving
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0


async def test_tombstones_and_placing_at_random_never_leave_anything_held(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async def race(request_id: str) -> None:
        _ = await asyncio.gather(
            place(book, holder, request_id, 1),
            leave_tombstone(book, holder, request_id),
            return_exceptions=True,
        )

    await asyncio.gather(*(race(f"r{number}") for number in range(30)))
    assert await hold_states(pool, holder) == ["voided"] * 30
    assert (await account_of(pool, holder)).held == 0


async def test_a_tombstone_for_what_was_settled_changes_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    settled = await placed(book, holder, "settled", 20)
    _ = await book.settle(settled, Usage(total=5))
    await leave_tombstone(book, holder, "settled")
    assert await hold_states(pool, holder) == ["settled"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (95, 0)


async def test_a_tombstone_for_what_has_expired_takes_its_charge_back(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await expired(pool, book, holder, "expired")
    await leave_tombstone(book, holder, "expired")
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)


# Those who wait.


async def wait_for(pool: Pool, holder: Holder, wanted: int, alive_s: float = ALIVE_S) -> int:
    """Stand in line; gives the position."""
    return int(await pool.fetchval(statements.ENTER, holder.account_id, wanted, alive_s))


async def test_a_waiter_is_left_what_it_wants(pool: Pool, book: Book, holder: Holder) -> None:
    position = await wait_for(pool, holder, 70)
    assert await place(book, holder, "a", 31, 31) is None
    assert await place(book, holder, "b", 30, 30) is not None
    hold = await book.place(holder.caller, purpose("c"), Claim(70, 70), position=position)
    assert hold == Hold("c", holder.account_id, 70)


async def test_those_behind_leave_everything_to_those_in_front_and_nothing_to_those_behind_them(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _front = await wait_for(pool, holder, 50)
    middle = await wait_for(pool, holder, 50)
    _behind = await wait_for(pool, holder, 50)

    async def place_from_the_middle(request_id: str, wanted: int) -> Hold | None:
        claim = Claim(wanted, wanted)
        return await book.place(holder.caller, purpose(request_id), claim, position=middle)

    assert await place_from_the_middle("a", 51) is None
    assert await place_from_the_middle("b", 50) is not None


async def test_a_waiter_of_another_account_is_left_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    await wait_for(pool, other, 70)
    assert await place(book, holder, "a", 100, 100) is not None


async def test_waiters_that_are_no_longer_alive_are_left_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    position = await wait_for(pool, holder, 70, ENDED_S)
    assert await place(book, holder, "a", 100, 100) is not None
    await leave_tombstone(book, holder, "a")
    await pool.execute(statements.RENEW_WAITERS, [holder.account_id], [position], ALIVE_S)
    assert await place(book, holder, "b", 100, 100) is None
    await pool.execute(statements.LEAVE, holder.account_id, position)
    assert await place(book, holder, "c", 100, 100) is not None


async def test_waiters_cap_nobody(pool: Pool, book: Book, holder: Holder) -> None:
    await wait_for(pool, holder, 70)
    # As open holds do not: it waits for them and is then held in full.
    assert await place(book, holder, "a", 100, 1) is None


async def test_a_release_is_told_to_whoever_listens(pool: Pool, book: Book, holder: Holder) -> None:
    told: list[int] = []
    book.on_release = told.append
    holds = [await placed(book, holder, request_id, 20) for request_id in "abcd"]
    await end_leases(pool)
    _ = await book.settle(holds[0], Usage(total=5))
    await book.void(holds[1])
    assert await book.expire(holds[2], KNOWN)
    await leave_tombstone(book, holder, "d")
    assert told == [holder.account_id] * 4
