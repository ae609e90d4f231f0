"""Credits that move from one account to another: all of them or none, and never one with an end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of, placed
from tests.support.broken_books import break_books, without
from tests.support.grants import end, grant, remains
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import (
    CREDITS_MAX,
    AmountNotPositive,
    AmountTooLarge,
    Cause,
    CreditError,
    InvalidIdempotencyKey,
    InvalidNote,
    KeyReused,
    UnknownAccount,
    add_once,
    set_balance,
)
from tokenbalance.books.ledger.transfers import (
    AccountClosed,
    SameAccount,
    Transfer,
    TransferTooLarge,
    transfer,
)
from tokenbalance.model import Actor, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

CAUSE = Cause(Actor("ada@example.com"), "for May")
UNNAMED = without("ledger", "transfer_is_named")
UNFIT = without("accounts", "kind_fits")


async def create_team(pool: Pool, balance: int = 0, *, is_closed: bool = False) -> Holder:
    """Create an account of a team, which nobody belongs to."""
    user = await create_holder(pool, balance)
    account_id = await pool.fetchval(
        "INSERT INTO accounts (kind, name, closed_at)"
        " VALUES ('team', 'Research', CASE WHEN $1 THEN now() END) RETURNING id",
        is_closed,
    )
    team = replace(user, account_id=account_id)
    if balance:
        await pool.execute("UPDATE accounts SET balance = $1 WHERE id = $2", balance, account_id)
        await pool.execute(
            "INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
            " VALUES ($1, 'grant', $2, $2, 'tests')",
            account_id,
            balance,
        )
    return team


async def move(
    sessions: Sessions,
    sender: Holder,
    receiver: Holder,
    amount: int,
    *,
    cause: Cause = CAUSE,
    key: str | None = None,
) -> Transfer:
    async with sessions.begin() as session:
        return await transfer(session, sender.account_id, receiver.account_id, amount, cause, key)


async def test_credits_leave_one_account_and_arrive_in_the_other(
    pool: Pool, sessions: Sessions
) -> None:
    ada, team = await create_holder(pool, 100), await create_team(pool)
    moved = await move(sessions, ada, team, 30)
    sent, received = moved.sent, moved.received
    assert (sent.kind, sent.amount, sent.balance_after) == ("transfer", -30, 70)
    assert (received.kind, received.amount, received.balance_after) == ("transfer", 30, 30)
    assert sent.transfer_id == received.transfer_id is not None
    assert {sent.actor, received.actor} == {"ada@example.com"}
    assert sent.note == f"to account {team.account_id}: for May"
    assert received.note == f"from account {ada.account_id}: for May"
    assert await entries_of(pool, ada) == [("grant", 100, 100), ("transfer", -30, 70)]
    assert await entries_of(pool, team) == [("transfer", 30, 30)]
    assert (await move(sessions, team, ada, 30)).sent.balance_after == 0
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("balance", "overdraft", "held", "movable"),
    [
        (100, 0, 0, 100),
        (100, 0, 80, 20),
        (100, 0, 100, 0),
        # The overdraft is for requests, and covers what they hold first.
        (100, 30, 0, 100),
        (100, 30, 80, 50),
        (100, 30, 20, 100),
        (0, 30, 0, 0),
        (0, 0, 0, 0),
    ],
)
async def test_what_requests_in_flight_hold_and_the_overdraft_are_not_moved(
    pool: Pool, sessions: Sessions, balance: int, overdraft: int, held: int, movable: int
) -> None:
    ada = await create_holder(pool, balance, overdraft=overdraft)
    bob = await create_holder(pool)
    hold = await placed(Book(pool), ada, "tb_1", held) if held else None
    with pytest.raises(TransferTooLarge, match=f"at most {movable} credits can be moved"):
        await move(sessions, ada, bob, movable + 1)
    if movable:
        _ = await move(sessions, ada, bob, movable)
    if hold:
        assert await Book(pool).settle(hold, Usage(total=held))
    assert (await account_of(pool, ada)).balance == balance - movable - held
    assert (await account_of(pool, bob)).balance == movable
    assert (await audit(pool)).violations == []


async def test_credits_with_an_end_stay_where_they_were_granted(
    pool: Pool, sessions: Sessions
) -> None:
    ada, bob = await create_holder(pool, 40), await create_holder(pool)
    ending = await grant(sessions, ada, 60)
    first = await grant(sessions, ada, 5, days=None, priority=1)
    with pytest.raises(TransferTooLarge, match="the balance is 105, of which 60 have an end"):
        await move(sessions, ada, bob, 46)
    _ = await move(sessions, ada, bob, 15)
    # In the order in which they are spent: the 5 of the lower priority, then the first balance.
    assert await remains(sessions, ada) == {ending: 60, ending - 1: 30}
    assert first not in await remains(sessions, ada)
    assert (await audit(pool)).violations == []

    await end(pool, ending)
    with pytest.raises(TransferTooLarge, match="the balance is 30, of which 0 have an end"):
        await move(sessions, ada, bob, 31)
    _ = await move(sessions, ada, bob, 30)
    assert [entry[:2] for entry in await entries_of(pool, ada)][-2:] == [
        ("expiry", -60),
        ("transfer", -30),
    ]
    assert (await account_of(pool, bob)).balance == 45
    assert (await audit(pool)).violations == []


async def test_what_arrives_is_a_grant_without_an_end_and_is_spent_last(
    pool: Pool, sessions: Sessions
) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool)
    ending = await grant(sessions, bob, 10)
    moved = await move(sessions, ada, bob, 30)
    book = Book(pool)
    assert await book.settle(await placed(book, bob, "tb_1", 15), Usage(total=15))
    assert await remains(sessions, bob) == {moved.received.id: 25}
    _ = await grant(sessions, bob, 1)
    _ = await move(sessions, bob, ada, 25)
    assert ending not in await remains(sessions, bob)
    assert (await audit(pool)).violations == []


async def test_what_the_receiver_owes_is_paid_first(pool: Pool, sessions: Sessions) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool, 10)
    _ = await grant(sessions, bob, 10)
    book = Book(pool)
    assert await book.settle(await placed(book, bob, "tb_1", 20), Usage(total=25))
    moved = await move(sessions, ada, bob, 30)
    assert moved.received.balance_after == 25
    assert await remains(sessions, bob) == {moved.received.id: 25}
    assert (await audit(pool)).violations == []


async def test_a_closed_team_gives_what_it_has_left_and_gets_nothing(
    pool: Pool, sessions: Sessions
) -> None:
    ada, team = await create_holder(pool, 100), await create_team(pool, 30, is_closed=True)
    with pytest.raises(AccountClosed, match="is closed"):
        await move(sessions, ada, team, 1)
    assert (await move(sessions, team, ada, 30)).received.balance_after == 130


@pytest.mark.parametrize(
    ("amount", "note", "key", "error"),
    [
        (0, "", None, AmountNotPositive),
        (-5, "", None, AmountNotPositive),
        (101, "", None, TransferTooLarge),
        (CREDITS_MAX + 1, "", None, AmountTooLarge),
        (10, "", None, AmountTooLarge),
        (5, "a\0b", None, InvalidNote),
        (5, "", "", InvalidIdempotencyKey),
    ],
)
async def test_a_refused_transfer_leaves_no_trace(
    pool: Pool,
    sessions: Sessions,
    amount: int,
    note: str,
    key: str | None,
    error: type[CreditError],
) -> None:
    ada, rich = await create_holder(pool, 100), await create_holder(pool, CREDITS_MAX - 9)
    async with sessions.begin() as session:
        with pytest.raises(error):
            _ = await transfer(
                session, ada.account_id, rich.account_id, amount, Cause(CAUSE.actor, note), key
            )
        # Even where the caller goes on and commits.
    assert await entries_of(pool, ada) == [("grant", 100, 100)]
    assert (await account_of(pool, rich)).balance == CREDITS_MAX - 9
    assert (await audit(pool)).violations == []


async def test_there_must_be_two_accounts(pool: Pool, sessions: Sessions) -> None:
    ada = await create_holder(pool, 100)
    nobody = replace(ada, account_id=999)
    with pytest.raises(SameAccount):
        await move(sessions, ada, ada, 1)
    for sender, receiver in ((ada, nobody), (nobody, ada)):
        with pytest.raises(UnknownAccount):
            await move(sessions, sender, receiver, 1)
    assert await entries_of(pool, ada) == [("grant", 100, 100)]


async def test_the_same_key_moves_once_and_another_transfer_of_it_is_refused(
    pool: Pool, sessions: Sessions
) -> None:
    ada, bob, eve = [await create_holder(pool, 100) for _ in range(3)]
    first = await move(sessions, ada, bob, 100, key="a")
    assert await move(sessions, ada, bob, 100, key="a") == first
    # Keys are those of the account that sends.
    assert await move(sessions, eve, bob, 100, key="a") != first
    for receiver, amount, cause in (
        (eve, 100, CAUSE),
        (bob, 99, CAUSE),
        (bob, 100, replace(CAUSE, note="for June")),
    ):
        with pytest.raises(KeyReused):
            await move(sessions, ada, receiver, amount, cause=cause, key="a")
    async with sessions.begin() as session:
        with pytest.raises(KeyReused):
            _ = await add_once(session, ada.account_id, -100, CAUSE, "a")
    async with sessions.begin() as session:
        said = Cause(CAUSE.actor, f"to account {ada.account_id}: for May")
        _ = await add_once(session, bob.account_id, -5, said, "b")
    with pytest.raises(KeyReused):
        await move(sessions, bob, ada, 5, key="b")
    assert (await account_of(pool, bob)).balance == 295
    assert (await audit(pool)).violations == []


async def test_the_same_key_at_once_moves_once(pool: Pool, sessions: Sessions) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool)
    moved = await asyncio.gather(*(move(sessions, ada, bob, 30, key="a") for _ in range(5)))
    assert len({one.sent.id for one in moved}) == len({one.received.id for one in moved}) == 1
    assert (await account_of(pool, bob)).balance == 30


async def test_two_accounts_that_send_to_each_other_never_deadlock(
    pool: Pool, sessions: Sessions
) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool, 100)
    _ = await grant(sessions, ada, 10)
    book = Book(pool)

    async def spend(holder: Holder, number: int) -> None:
        hold = await placed(book, holder, f"tb_{holder.account_id}_{number}", 1)
        assert await book.settle(hold, Usage(total=1))

    async with asyncio.timeout(60):
        _ = await asyncio.gather(
            *(move(sessions, ada, bob, 1) for _ in range(50)),
            *(move(sessions, bob, ada, 1) for _ in range(50)),
            *(spend(holder, number) for holder in (ada, bob) for number in range(20)),
        )
    assert (await account_of(pool, ada)).balance == 90
    assert (await account_of(pool, bob)).balance == 80
    assert await pool.fetchval("SELECT count(DISTINCT transfer_id) FROM ledger") == 100
    assert (await audit(pool)).violations == []


async def test_a_transfer_and_lowering_the_balance_at_once_take_nothing_twice(
    pool: Pool, sessions: Sessions
) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool)
    _ = await placed(Book(pool), ada, "tb_1", 40)

    async def empty() -> None:
        async with sessions.begin() as session:
            _ = await set_balance(session, ada.account_id, 0, CAUSE)

    results = await asyncio.gather(
        empty(), *(move(sessions, ada, bob, 20) for _ in range(4)), return_exceptions=True
    )
    done = [result for result in results if isinstance(result, Transfer)]
    assert len(done) <= 3
    assert (await account_of(pool, bob)).balance == 20 * len(done)
    assert (await account_of(pool, ada)).balance == 40
    assert (await audit(pool)).violations == []


async def test_a_transfer_that_is_not_committed_never_was(pool: Pool, sessions: Sessions) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool)
    _ = await grant(sessions, ada, 10)
    async with sessions() as session:
        _ = await transfer(session, ada.account_id, bob.account_id, 30, CAUSE)
        seen = await entries_of(pool, bob)
        await session.rollback()
    assert (seen, await entries_of(pool, bob)) == ([], [])
    assert (await account_of(pool, ada)).balance == 110
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("lost", "statement", "named"),
    [
        (
            None,
            "DELETE FROM ledger WHERE account_id = 2",
            "its entries are 2, a transfer of -30 credits of account 1",
        ),
        (
            None,
            "UPDATE ledger SET amount = 29, balance_after = 29 WHERE id = 3",
            "3, a transfer of 29 credits of account 2",
        ),
        (
            UNNAMED,
            "UPDATE ledger SET kind = 'top-up' WHERE id = 3",
            "3, a top-up of 30 credits of account 2",
        ),
        (
            UNNAMED,
            "UPDATE ledger SET transfer_id = NULL WHERE kind = 'transfer'",
            "transfer without an id: its entries are 2, a transfer of -30 credits of account 1",
        ),
        (
            UNFIT,
            "UPDATE accounts SET user_id = NULL WHERE id = 1",
            "account 1: is personal, and its user is nobody",
        ),
        (
            UNFIT,
            "UPDATE accounts SET kind = 'team' WHERE id = 2",
            "account 2: is that of a team, and its user is",
        ),
    ],
)
async def test_what_breaks_transfers_and_accounts_is_named(
    pool: Pool, sessions: Sessions, lost: str | None, statement: str, named: str
) -> None:
    ada, bob = await create_holder(pool, 100), await create_holder(pool)
    _ = await move(sessions, ada, bob, 30)
    what_is_left = (
        "UPDATE accounts SET balance = (SELECT coalesce(sum(amount), 0) FROM ledger"
        " WHERE account_id = accounts.id)"
    )
    await break_books(pool, *([lost] if lost else []), statement, what_is_left)
    (violation,) = (await audit(pool)).violations
    assert named in violation
