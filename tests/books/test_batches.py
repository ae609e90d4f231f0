"""Holds and settlements that share a statement: the same as one by one, and in nobody's way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.books import (
    Account,
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
from tokenbalance.books.ledger.book import Book
from tokenbalance.database import statements
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Claim, Hold, Purpose, Usage
from tokenbalance.people.callers import Callers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

PATIENCE_S = 20.0
NAMES = {
    statement: name
    for name, statement in vars(statements).items()
    if isinstance(statement, str) and not name.startswith("_")
}


@pytest.fixture
async def book(pool: Pool) -> AsyncIterator[Book]:
    """A book that is sound after each of these tests."""
    yield Book(pool)
    assert (await audit(pool)).violations == []


@pytest.fixture
async def holders(pool: Pool) -> list[Holder]:
    return [await create_holder(pool, 1000) for _ in range(3)]


@pytest.fixture
def sent(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that were sent."""
    names: list[str] = []

    def noting(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def note(statement: str, *arguments: object, **named: float) -> object:
            if statement in NAMES:
                names.append(NAMES[statement])
            return await run(statement, *arguments, **named)

        return note

    for method in ("fetch", "fetchrow", "execute"):
        monkeypatch.setattr(pool, method, noting(getattr(pool, method)))
    return names


@asynccontextmanager
async def locked(pool: Pool, statement: str, *arguments: object) -> AsyncGenerator[None]:
    """Keep rows as somebody does who has not committed yet."""
    async with pool.acquire() as session, session.transaction():
        assert await session.execute(statement, *arguments) not in {"SELECT 0", "UPDATE 0"}
        yield


async def soon(work: Awaitable[object]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def blocked(pool: Pool, count: int) -> None:
    """Wait until so many sessions wait for a lock."""
    async with asyncio.timeout(PATIENCE_S):
        while count != await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.002)


async def place_each(book: Book, holders: Sequence[Holder], tag: str = "r") -> list[Hold]:
    holds = await asyncio.gather(
        *(place(book, holder, f"{tag}{number}", 10) for number, holder in enumerate(holders))
    )
    return [hold for hold in holds if hold is not None]


# One statement.


async def test_holds_of_several_accounts_are_placed_by_one_statement(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    holds = await place_each(book, holders * 2)
    assert sent == ["PLACE_MANY"]
    assert [hold.amount for hold in holds] == [10] * 6
    assert [(await account_of(pool, holder)).held for holder in holders] == [20] * 3


async def test_holds_of_one_account_are_placed_by_one_statement(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    await place_each(book, holders[:1] * 5)
    assert sent == ["PLACE_MANY_OF_ONE"]
    assert (await account_of(pool, holders[0])).held == 50


async def test_settlements_of_several_accounts_share_a_statement_and_keep_their_order(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    holds = await place_each(book, holders * 2)
    sent.clear()
    charges = await asyncio.gather(
        *(book.settle(hold, Usage(total=5 + n)) for n, hold in enumerate(holds))
    )
    assert sent == ["SETTLE_MANY"]
    for number, holder in enumerate(holders):
        first, second = charges[number], charges[number + 3]
        assert first is not None
        assert second is not None
        assert (first.balance, second.balance) == (1000 - 5 - number, 1000 - 13 - 2 * number)
        assert (first.held, second.held) == (0, 0)
        assert (await entries_of(pool, holder))[1:] == [
            ("charge", -5 - number, first.balance),
            ("charge", -8 - number, second.balance),
        ]


async def test_one_request_alone_is_sent_alone(
    book: Book, holders: list[Holder], sent: list[str]
) -> None:
    await book.settle(await placed(book, holders[0], "a", 10), Usage(total=5))
    assert sent == ["PLACE", "SETTLE"]


async def test_no_statement_is_about_more_than_one_account_where_that_is_not_wanted(
    pool: Pool, holders: list[Holder], sent: list[str]
) -> None:
    book = Book(pool, batch_max=1)
    holds = await place_each(book, holders * 2)
    await asyncio.gather(*(book.settle(hold, Usage(total=5)) for hold in holds))
    assert sorted(sent) == ["PLACE"] * 6 + ["SETTLE"] * 6


# As one by one.

CLAIMS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=12
)
ENDS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 70)), min_size=1, max_size=14)
BALANCES = st.tuples(*[st.integers(0, 120)] * 3)
PROFILE = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Run:
    """The same requests of three holders, either at once or one after another."""

    pool: Pool
    book: Book
    holders: list[Holder]
    at_once: bool

    async def all(self, work: Sequence[Awaitable[object]]) -> list[object]:
        if self.at_once:
            return list(await asyncio.gather(*work, return_exceptions=True))
        return [(await asyncio.gather(one, return_exceptions=True))[0] for one in work]

    async def place(self, claims: list[tuple[int, int, int]], names: list[str]) -> list[object]:
        return await self.all(
            [
                place(self.book, self.holders[account], name, wanted, min(wanted, minimum))
                for (account, wanted, minimum), name in zip(claims, names, strict=True)
            ]
        )

    async def what_there_is(self) -> list[object]:
        return [
            (
                await account_of(self.pool, holder),
                await entries_of(self.pool, holder),
                [tuple(charge) for charge in await charges_of(self.pool, holder)],
                sorted(await hold_states(self.pool, holder)),
            )
            for holder in self.holders
        ]


async def run_of(pool: Pool, balances: Sequence[int], *, at_once: bool) -> Run:
    holders = [
        await create_holder(pool, balance, overdraft=overdraft)
        for balance, overdraft in zip(balances, (0, 0, 15), strict=True)
    ]
    return Run(pool, Book(pool, batch_max=512 if at_once else 1), holders, at_once)


def shown(response: object) -> object:
    if isinstance(response, Hold):
        return response.amount
    return type(response) if isinstance(response, Exception) else response


@PROFILE
@given(
    balances=BALANCES,
    claims=CLAIMS,
    twice=st.booleans(),
    waiting=st.integers(0, 20),
    ends=ENDS,
)
async def test_at_once_is_the_same_as_one_by_one(
    pool: Pool,
    balances: tuple[int, int, int],
    claims: list[tuple[int, int, int]],
    twice: bool,
    waiting: int,
    ends: list[tuple[int, int]],
) -> None:
    names = [f"r{number}" for number in range(len(claims))]
    if twice:
        names[-1] = names[0]
    seen: list[object] = []
    for at_once in (True, False):
        run = await run_of(pool, balances, at_once=at_once)
        if waiting:
            account_id = run.holders[0].account_id
            await pool.fetchval(statements.ENTER, account_id, waiting, 60.0)
        responses = await run.place(claims, names)
        holds = [response for response in responses if isinstance(response, Hold)]
        told = await run.all(
            [run.book.settle(holds[n % len(holds)], Usage(total=t)) for n, t in ends if holds]
        )
        assert not [error for error in told if isinstance(error, Exception)]
        seen.append(([*map(shown, responses)], await run.what_there_is()))
    assert seen[0] == seen[1]


async def test_a_hold_that_is_asked_for_twice_at_once_is_placed_once(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    pending = ((holders[0], "same"), (holders[0], "same"), (holders[1], "other"))
    responses = await asyncio.gather(
        *(place(book, holder, name, 10) for holder, name in pending), return_exceptions=True
    )
    assert [type(response) for response in responses] == [Hold, asyncpg.UniqueViolationError, Hold]
    assert (await account_of(pool, holders[0])).held == 10


async def test_a_hold_that_is_settled_twice_at_once_is_charged_once(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    first, other = await place_each(book, holders[:2])
    charges = await asyncio.gather(
        *(book.settle(hold, Usage(total=7)) for hold in (first, first, other, first))
    )
    assert [charge and charge.amount for charge in charges] == [7] * 4
    assert [len(await charges_of(pool, holder)) for holder in holders[:2]] == [1, 1]


async def test_what_has_ended_in_another_way_is_left_as_it_is(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    voided, expired, settled = await place_each(book, holders)
    await book.void(voided)
    assert await book.expire(expired, Usage(total=4, estimated=True), orphaned=True)
    charges = await asyncio.gather(
        *(book.settle(hold, Usage(total=7)) for hold in (voided, expired, settled))
    )
    assert [charge and charge.amount for charge in charges] == [None, 7, 7]
    assert [(await account_of(pool, holder)).balance for holder in holders] == [1000, 993, 993]


async def test_a_voided_hold_is_not_charged_where_no_constraint_would_notice(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    voided, other = await place_each(book, holders[:2])
    _ = await place_each(book, holders[:1], "still open")
    await book.void(voided)
    charges = await asyncio.gather(*(book.settle(hold, Usage(total=7)) for hold in (voided, other)))
    assert [charge and charge.amount for charge in charges] == [None, 7]
    assert await account_of(pool, holders[0]) == Account(1000, 10)


async def test_one_that_is_wrong_does_not_fail_the_others(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    async def place_for(holder: Holder, model: str) -> Hold | None:
        purpose = Purpose(f"r{holder.account_id}", "/chat/completions", model)
        return await book.place(holder.caller, purpose, Claim(10, 10))

    responses = await asyncio.gather(
        *map(place_for, holders, ("gpt-4o", "\0", "gpt-4o")), return_exceptions=True
    )
    assert [type(response) for response in responses] == [
        Hold,
        asyncpg.CharacterNotInRepertoireError,
        Hold,
    ]
    assert [(await account_of(pool, holder)).held for holder in holders] == [10, 0, 10]


# In nobody's way.

LOCKS = {
    "the account": "SELECT FROM accounts WHERE id = $1 FOR UPDATE",
    "the secret of its key": (
        "UPDATE api_keys SET secret_sha256 = sha256(secret_sha256) WHERE account_id = $1"
    ),
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
async def test_whoever_keeps_one_account_keeps_no_other_from_placing(
    pool: Pool, book: Book, holders: list[Holder], lock: str
) -> None:
    kept, *others = holders
    async with locked(pool, lock, kept.account_id):
        placing = [asyncio.create_task(place(book, kept, f"k{number}", 10)) for number in range(3)]
        assert len(await soon(place_each(book, others * 2, "first"))) == 4
        await blocked(pool, 1)
        placing.append(asyncio.create_task(place(book, kept, "k3", 10)))
        assert len(await soon(place_each(book, others * 2, "then"))) == 4
        await blocked(pool, 1)
        assert not any(task.done() for task in placing)
    assert all(await soon(asyncio.gather(*placing)))
    assert (await account_of(pool, kept)).held == 40


LOCKS_OF_ENDS = {
    "the account": "SELECT FROM accounts WHERE id = $1 FOR UPDATE",
    "the hold": "SELECT FROM holds WHERE account_id = $1 FOR UPDATE",
}


@pytest.mark.parametrize("lock", LOCKS_OF_ENDS.values(), ids=LOCKS_OF_ENDS)
async def test_whoever_keeps_one_account_keeps_no_other_from_settling(
    pool: Pool, book: Book, holders: list[Holder], lock: str
) -> None:
    holds = await place_each(book, holders)
    async with locked(pool, lock, holders[0].account_id):
        settling = [asyncio.create_task(book.settle(hold, Usage(total=5))) for hold in holds]
        await soon(asyncio.gather(*settling[1:]))
        await blocked(pool, 1)
        assert not settling[0].done()
    charge = await soon(settling[0])
    assert (charge.amount, charge.balance) == (5, 995)


async def test_settlements_that_wait_for_their_account_count_from_what_it_has_then(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    holds = await place_each(book, holders[:1] * 3)
    sent.clear()
    top_up = (
        "WITH topped AS (UPDATE accounts SET balance = balance + 500 WHERE id = $1 RETURNING id)"
        " INSERT INTO ledger_entries (account_id, kind, amount, balance_after, actor)"
        " SELECT id, 'top-up', 500, 1500, 'tests' FROM topped"
    )
    async with locked(pool, top_up, holders[0].account_id):
        settling = [asyncio.create_task(book.settle(hold, Usage(total=5))) for hold in holds]
        await blocked(pool, 1)
    charges = await soon(asyncio.gather(*settling))
    assert sent == ["SETTLE_MANY_OF_ONE"]
    assert [(charge.balance, charge.held) for charge in charges] == [
        (1495, 0),
        (1490, 0),
        (1485, 0),
    ]


async def test_a_renewal_waits_for_no_hold_that_is_being_ended(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    holds = await place_each(book, holders)
    await end_leases(pool)
    ending = "UPDATE holds SET state = 'voided', ended_at = now() WHERE account_id = $1"
    async with locked(pool, ending, holders[0].account_id):
        await soon(book.renew([(hold, None) for hold in holds]))
        assert [known.hold for known in await book.lapsed(10)] == []
    await pool.execute("UPDATE accounts SET held = 0 WHERE id = $1", holders[0].account_id)
    assert await hold_states(pool, holders[0]) == ["voided"]


async def test_what_becomes_of_holds_while_a_batch_begins_to_settle_them_is_heeded(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch sees the books as they were; then a hold is renewed, and another voided."""
    begun = "LIMIT (SELECT cardinality($1) FROM pg_advisory_xact_lock(7))"
    late = statements.SETTLE_MANY.replace("LIMIT (SELECT cardinality($1))", begun)
    monkeypatch.setattr(statements, "SETTLE_MANY", late)
    monkeypatch.setitem(NAMES, late, "SETTLE_MANY")
    renewed, voided, left = await place_each(book, holders)
    sent.clear()
    async with locked(pool, "SELECT pg_advisory_xact_lock(7)"):
        settling = [
            asyncio.create_task(book.settle(hold, Usage(total=7)))
            for hold in (renewed, voided, left)
        ]
        await blocked(pool, 1)
        await book.renew([(renewed, Usage(input=3, output=1, total=4))])
        await book.void(voided)
    charges = await soon(asyncio.gather(*settling))
    assert [charge and charge.balance for charge in charges] == [993, None, 993]
    assert sent[:3] == ["SETTLE_MANY", "RENEW", "VOID"]
    assert sorted(sent[3:]) == ["CORRECT", "ENDED", "SETTLE", "SETTLE"]
    assert [len(await charges_of(pool, holder)) for holder in holders] == [1, 0, 1]


async def test_a_key_that_is_not_valid_is_refused_beside_those_that_are(
    pool: Pool, holders: list[Holder]
) -> None:
    callers = Callers(pool)
    await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", holders[1].key_id)

    async def find(holder: Holder) -> object:
        return await callers.authenticate([(b"authorization", f"Bearer {holder.secret}".encode())])

    found = await asyncio.gather(*map(find, [*holders, holders[0]]), return_exceptions=True)
    assert [getattr(caller, "key_id", None) for caller in found] == [
        holders[0].key_id,
        None,
        holders[2].key_id,
        holders[0].key_id,
    ]


async def test_no_two_statements_wait_for_each_other(dsn: str, pool: Pool, book: Book) -> None:
    """Two processes place, settle, void, renew and expire, on a few accounts, all at once."""
    holders = [await create_holder(pool, 100_000) for _ in range(4)]
    async with open_pool(dsn, 8) as other_pool:
        books = (book, Book(other_pool))
        renewing = asyncio.create_task(renew_always(books[1], holds := []))

        async def live(number: int) -> None:
            mine, other = books[number % 2], books[1 - number % 2]
            hold = await placed(mine, holders[number % 4], f"r{number}", 10)
            holds.append(hold)
            usage = Usage(total=number % 7)
            ends: list[Awaitable[object]] = [mine.settle(hold, usage)]
            if number % 3 == 0:
                estimate = Usage(total=usage.total, estimated=True)
                ends.append(other.expire(hold, estimate, orphaned=True))
            if number % 5 == 0:
                ends.append(other.settle(hold, usage))
            await asyncio.gather(*ends)

        await asyncio.gather(*(live(number) for number in range(240)))
        renewing.cancel()
        await asyncio.wait([renewing])
    states = [state for holder in holders for state in await hold_states(pool, holder)]
    assert set(states) <= {"settled", "expired"}
    used = sum(number % 7 for number in range(240))
    accounts = [await account_of(pool, holder) for holder in holders]
    assert sum(account.balance for account in accounts) == 400_000 - used
    assert [account.held for account in accounts] == [0] * 4
    assert (
        await pool.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        == 0
    )


async def renew_always(book: Book, holds: list[Hold]) -> None:
    while True:
        await book.renew([(hold, None) for hold in reversed(holds)])


# Cancelled, or unheard.


async def test_who_is_cancelled_takes_nobody_along(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    async with locked(pool, "SELECT FROM accounts FOR UPDATE"):
        placing = [
            asyncio.create_task(place(book, holders[0], f"r{number}", 10)) for number in range(3)
        ]
        await blocked(pool, 1)
        placing[1].cancel()
        await asyncio.wait([placing[1]])
    assert await soon(placing[0])
    assert await soon(placing[2])
    # It was sent: the canceller leaves a tombstone.
    await book.leave_tombstone(holders[0].caller, Purpose("r1", "/chat/completions", None))
    assert (await account_of(pool, holders[0])).held == 20


async def test_a_settlement_that_nobody_heard_of_is_told_when_it_is_asked_for_again(
    pool: Pool, book: Book, holders: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = await place_each(book, holders)
    with monkeypatch.context() as broken:
        fetch = pool.fetch

        async def lose_the_response(statement: str, *arguments: object) -> object:
            _ = await fetch(statement, *arguments)
            raise ConnectionResetError

        broken.setattr(pool, "fetch", lose_the_response)
        lost = await asyncio.gather(
            *(book.settle(hold, Usage(total=5)) for hold in holds), return_exceptions=True
        )
    assert [type(error) for error in lost] == [ConnectionResetError] * 3
    again = await asyncio.gather(*(book.settle(hold, Usage(total=5)) for hold in holds))
    assert [charge and (charge.amount, charge.balance) for charge in again] == [(5, 995)] * 3
    assert [len(await charges_of(pool, holder)) for holder in holders] == [1] * 3
