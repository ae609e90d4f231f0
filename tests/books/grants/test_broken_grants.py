"""What breaks each invariant of grants is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder, placed
from tests.support.broken_books import break_books
from tests.support.grants import CAUSE, end, enter_all_due, grant
from tokenbalance.books.grants.allowances import NewAllowance, create
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions

# The ledger of account 1: 1 its balance, 2 a grant that ended, 3 its end, 4 an allowance's grant, 5
# a grant, 6 a charge that is not burnt.
BROKEN = (
    (
        "UPDATE burns SET balance_after = 131 WHERE up_to = 5",
        {"burnt up to entry 5 and a balance of 131", "the balance was 131"},
    ),
    ("UPDATE grants SET remaining = 39 WHERE id = 5", {"139 remain", "grant 5 of account 1"}),
    ("UPDATE accounts SET next_expiry = NULL", {"something is due at no time"}),
    (
        "UPDATE accounts SET next_expiry = next_expiry + interval '1 s'",
        {"something is due at"},
    ),
    ("UPDATE burns SET amounts = '{9}' WHERE up_to = 3", {"grant 2 of account 1", "entry 3 of"}),
    ("UPDATE grants SET carried = 1 WHERE id = 4", {"grant 4 of account 1"}),
    (
        "UPDATE grants SET expires_at = NULL WHERE id = 2",
        {"entry 3 of account 1: 10 credits ended"},
    ),
)


@pytest.mark.parametrize(("statement", "named"), BROKEN)
async def test_what_breaks_grants_is_named(
    pool: Pool, sessions: Sessions, statement: str, named: set[str]
) -> None:
    await live(pool, sessions)
    await break_books(pool, statement)
    violations = (await audit(pool)).violations
    assert all(any(words in line for line in violations) for words in named), violations
    assert len(violations) == len(named)


async def test_a_period_that_was_issued_twice_is_named(pool: Pool, sessions: Sessions) -> None:
    await live(pool, sessions)
    index = await pool.fetchval("SELECT pg_get_indexdef('uq_grants_one_per_period'::regclass)")
    await pool.execute("DROP INDEX uq_grants_one_per_period")
    try:
        await break_books(
            pool,
            "UPDATE grants SET (allowance_id, period_start) ="
            " (SELECT allowance_id, period_start FROM grants WHERE id = 4) WHERE id = 5",
        )
        (violation,) = (await audit(pool)).violations
        assert "issued 2 grants for the period of" in violation
    finally:
        # Another test gets this database.
        await pool.execute("UPDATE grants SET (allowance_id, period_start) = ROW (NULL, NULL)")
        await pool.execute(index)


async def live(pool: Pool, sessions: Sessions) -> None:
    """Let an account have grants, an end, and a charge that is not burnt."""
    holder = await create_holder(pool, 40)
    ended = await grant(sessions, holder, 10)
    await end(pool, ended)
    assert await enter_all_due(pool) == 1
    begun = datetime.now(UTC) - timedelta(hours=1)
    async with sessions.begin() as session:
        new = NewAllowance(amount=60, every="day", starts_at=begun)
        _ = await create(session, holder.account_id, new, CAUSE)
    _ = await grant(sessions, holder, 40)
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 15)
    assert await book.settle(hold, Usage({"input": 15}, total=15))
    assert (await audit(pool)).violations == []
