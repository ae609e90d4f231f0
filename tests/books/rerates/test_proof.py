"""A rerate that is wrong is named by the audit, and books with rerates are not moved back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from alembic import command

from tests.support.books import create_holder
from tests.support.broken_books import break_books, entry
from tests.support.rerates import card, charged, expired, refunded, rerated
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.migrate import alembic_config
from tokenbalance.model import Hold, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

RERATES = "UPDATE ledger SET {} WHERE state IS NULL AND rates IS NOT NULL AND request_id = '{}'"
RATE_3 = """rates = rates || '{"input": "3"}'"""


async def violations(pool: Pool) -> list[str]:
    return (await audit(pool)).violations


async def lowered(pool: Pool, sessions: Sessions, holder: Holder) -> Hold:
    """A request of 15 credits of which 8 were refunded, and 3 are due."""
    hold = await charged(pool, holder)
    await refunded(sessions, hold, 8)
    _ = await rerated(sessions, card("0.2", "0.2"))
    assert await violations(pool) == []
    return hold


@pytest.fixture
async def owner(pool: Pool) -> Holder:
    """Whose books are broken."""
    return await create_holder(pool, 1000)


@pytest.fixture
async def hold(pool: Pool, sessions: Sessions, owner: Holder) -> Hold:
    """A request of 15 credits that costs 30."""
    hold = await charged(pool, owner)
    _ = await rerated(sessions, card("2", "2"))
    assert await violations(pool) == []
    return hold


@pytest.mark.parametrize("change", [RATE_3, "rates = rates - 'output'"])
async def test_rates_that_do_not_make_the_charge_are_named(
    pool: Pool, hold: Hold, change: str
) -> None:
    await break_books(pool, RERATES.format(change, hold.request_id))
    due = 40 if change == RATE_3 else 20
    assert await violations(pool) == [
        (
            f"request {hold.request_id} of account 1: was charged 30 credits,"
            f" its rates and usage make {due}"
        )
    ]


async def test_an_amount_that_was_changed_with_the_balance_is_named(pool: Pool, hold: Hold) -> None:
    await break_books(
        pool,
        RERATES.format("amount = -14, balance_after = balance_after + 1", hold.request_id),
        "UPDATE accounts SET balance = balance + 1",
    )
    assert await violations(pool) == [
        (
            f"request {hold.request_id} of account 1: was charged 29 credits,"
            " its rates and usage make 30"
        )
    ]


async def test_a_rerate_without_its_rates_is_a_correction(pool: Pool, hold: Hold) -> None:
    await break_books(pool, RERATES.format("rates = NULL", hold.request_id))
    request = f"request {hold.request_id} of account 1:"
    assert await violations(pool) == [
        f"{request} took 30 credits, used 15 tokens, overrun 0 of a hold of 100",
        f"{request} is settled, with 1 corrections",
    ]


async def test_a_rerate_changes_the_price_only(pool: Pool, hold: Hold) -> None:
    await break_books(pool, RERATES.format("overrun = 3", hold.request_id))
    assert await violations(pool) == [
        (
            f"request {hold.request_id} of account 1: took 30 credits, used 15 tokens,"
            " overrun 3 of a hold of 100"
        ),
        (
            "entry 3 of account 1: has rates, but is a adjustment of -15 credits and 0 tokens,"
            " overrun 3"
        ),
    ]


async def test_rates_of_what_is_no_rerate_are_named(pool: Pool, hold: Hold) -> None:
    await pool.execute(entry("top-up", 5))
    await break_books(pool, "UPDATE ledger SET rates = '{}' WHERE kind = 'top-up'")
    assert hold
    assert await violations(pool) == [
        "entry 4 of account 1: has rates, but is a top-up of 5 credits and 0 tokens, overrun 0"
    ]


async def test_a_voided_request_has_no_price(pool: Pool, sessions: Sessions, owner: Holder) -> None:
    hold = await charged(pool, owner, Usage({"input": 1}, 1))
    _ = await rerated(sessions, card("2", "2"))
    await break_books(
        pool,
        "ALTER TABLE ledger DROP CONSTRAINT ck_ledger_state_fits_kind",
        "UPDATE ledger SET kind = 'void', state = 'voided', amount = 0, total = 0,"
        " balance_after = NULL WHERE kind = 'charge'",
        "UPDATE ledger SET balance_after = balance_after + 1 WHERE kind = 'adjustment'",
        "UPDATE accounts SET balance = balance + 1",
    )
    assert await violations(pool) == [
        f"request {hold.request_id} of account 1: is voided, with 1 rerates"
    ]


async def test_a_charge_that_refunds_do_not_explain_is_named(
    pool: Pool, sessions: Sessions, owner: Holder
) -> None:
    hold = await lowered(pool, sessions, owner)
    await break_books(
        pool,
        "UPDATE ledger SET amount = 7 WHERE kind = 'refund'",
    )
    assert (
        f"request {hold.request_id} of account 1: was charged 8 credits, its rates and usage make 7"
        in await violations(pool)
    )


async def test_a_refund_of_what_a_price_gave_back_is_named(
    pool: Pool, sessions: Sessions, owner: Holder
) -> None:
    hold = await lowered(pool, sessions, owner)
    await pool.execute(entry("refund", 1, hold.request_id))
    assert await violations(pool) == [
        f"request {hold.request_id} of account 1: took 8 credits, and 9 were refunded"
    ]


async def test_a_correction_has_the_newest_rates(
    pool: Pool, sessions: Sessions, owner: Holder
) -> None:
    hold = await expired(pool, owner)
    _ = await rerated(sessions, card("2", "2"))
    _ = await Book(pool).settle(hold, Usage({"input": 40}, 40))
    assert await violations(pool) == []
    await break_books(pool, RERATES.format(RATE_3, hold.request_id))
    assert await violations(pool) == [
        (
            f"request {hold.request_id} of account 1: was charged 80 credits,"
            " its rates and usage make 120"
        )
    ]


async def test_a_balance_below_what_raised_prices_explain_is_named(
    pool: Pool, sessions: Sessions
) -> None:
    poor = await create_holder(pool, 20)
    _ = await charged(pool, poor, amount=20)
    for rates in (("2", "2"), ("1", "1"), ("3", "3")):
        _ = await rerated(sessions, card(*rates))
    assert await violations(pool) == []
    # 15 and 30 credits were raised, of which 15 were given back in between.
    await break_books(pool, entry("adjustment", -20))
    assert await violations(pool) == []
    await break_books(pool, entry("adjustment", -1))
    assert await violations(pool) == [
        "account 1: balance is -46, held is 0, the lowest balance allowed is -45"
    ]


async def test_one_request_has_one_correction_and_any_number_of_rerates(
    pool: Pool, sessions: Sessions, owner: Holder
) -> None:
    hold = await expired(pool, owner)
    for rates in (("2", "2"), ("3", "3")):
        _ = await rerated(sessions, card(*rates))
    _ = await Book(pool).settle(hold, Usage({"input": 40}, 40))
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(entry("adjustment", -1, hold.request_id))


async def test_books_with_rerates_are_not_moved_back(dsn: str, pool: Pool, hold: Hold) -> None:
    with pytest.raises(RuntimeError, match="they have 1 rerates"):
        await asyncio.to_thread(command.downgrade, alembic_config(dsn), "0012")
    assert hold
    assert await pool.fetchval("SELECT to_regclass('ix_ledger_after_ends') IS NOT NULL")
    await asyncio.to_thread(command.upgrade, alembic_config(dsn), "head")
    assert await violations(pool) == []


async def test_a_migration_that_was_interrupted_begins_anew(dsn: str, pool: Pool) -> None:
    config = alembic_config(dsn)
    await asyncio.to_thread(command.downgrade, config, "0012")
    await pool.execute("CREATE INDEX ix_ledger_after_ends ON ledger (id)")
    await asyncio.to_thread(command.upgrade, config, "head")
    await asyncio.to_thread(command.check, config)
    names = await pool.fetch("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    assert names == []
