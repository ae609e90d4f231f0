"""Storage is charged once a day, for the bytes and the time, and the proof of the books agrees."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of
from tests.support.broken_books import break_books
from tests.support.days import midnight
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.storage import StorageCharges
from tokenbalance.books.pricing.rate_card import read_rate_card

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

GB = 10**9
CARD = """
version = 2
[[models]]
match = "storage"
gb_day = 0.5
[[models]]
match = "gpt-*"
input = 1
output = 1
"""


def charges(pool: Pool, card: str | None = CARD) -> StorageCharges:
    return StorageCharges(pool, None if card is None else read_rate_card(card))


@pytest.fixture(autouse=True)
async def _nothing_is_stored(pool: Pool) -> None:
    await pool.execute("TRUNCATE objects")


async def store(pool: Pool, holder: Holder, size: int, **more: object) -> None:
    """Have a file of a size, made 10 days ago; `more` are other columns. The account is older."""
    await pool.execute(
        "UPDATE accounts SET created_at = now() - interval '1 year' WHERE id = $1",
        holder.account_id,
    )
    columns = {
        "kind": "file",
        "created_at": now() - dt.timedelta(days=10),
        "deleted_at": None,
        "expires_at": None,
        **more,
    }
    await pool.execute(
        "INSERT INTO objects (account_id, object_id, bytes, kind, created_at, deleted_at,"
        " expires_at) VALUES ($1, gen_random_uuid()::text, $2, $3, $4, $5, $6)",
        holder.account_id,
        size,
        *columns.values(),
    )


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def last_charged(pool: Pool, holder: Holder, ago: dt.timedelta) -> None:
    """Have been charged for nothing so long ago."""
    await pool.execute(
        "INSERT INTO ledger (account_id, kind, amount, asked, balance_after, quantities, rates,"
        " actor, created_at, idempotency_key)"
        " SELECT id, 'storage', 0, -1, balance, '{\"byte_day\": 1}', '{\"gb_day\": \"1\"}',"
        " 'server', now() - $2::interval, 'before' FROM accounts WHERE id = $1",
        holder.account_id,
        ago,
    )


async def test_a_day_has_one_entry_however_many_replicas_charge(
    pool: Pool, maker: Holder, other: Holder
) -> None:
    await store(pool, maker, 7 * GB)
    await store(pool, maker, 3 * GB, kind="vector_store")
    await store(pool, maker, 9 * GB, kind="response")
    taken = await asyncio.gather(*(charges(pool).charge() for _ in range(4)))
    assert sorted(taken) == [0, 0, 0, 5]
    assert await charges(pool).charge() == 0
    assert await entries_of(pool, maker) == [("grant", 1000, 1000), ("storage", -5, 995)]
    assert len(await entries_of(pool, other)) == 1
    note = await pool.fetchval("SELECT note FROM ledger WHERE kind = 'storage'")
    assert note.startswith("10 GB days since ")
    assert note.endswith(" UTC, at 0.5 credits each")
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("last", "more", "charged"),
    [
        pytest.param(3, {}, 15, id="since the last entry"),
        pytest.param(3, {"created_at": now() - dt.timedelta(days=2)}, 10, id="since it was made"),
        pytest.param(3, {"deleted_at": now() - dt.timedelta(days=1)}, 10, id="until its deletion"),
        pytest.param(3, {"expires_at": now() - dt.timedelta(days=2)}, 5, id="until its end"),
        pytest.param(3, {"deleted_at": now() - dt.timedelta(days=4)}, 0, id="deleted before"),
        pytest.param(40, {"created_at": now() - dt.timedelta(days=90)}, 155, id="31 days at most"),
    ],
)
async def test_what_is_charged_is_the_time_that_it_was_stored(
    pool: Pool, last: int, more: dict[str, object], charged: int
) -> None:
    holder = await create_holder(pool, 1000)
    await last_charged(pool, holder, dt.timedelta(days=last))
    await store(pool, holder, 10 * GB, **more)
    # A moment has passed since, and what is charged is rounded up.
    assert charged <= await charges(pool).charge() <= charged + 1
    assert (await audit(pool)).violations == []


async def test_nothing_is_charged_for_the_time_before_the_account(pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    await store(pool, holder, 48 * GB)
    await pool.execute(
        "UPDATE accounts SET created_at = now() - interval '12 hours' WHERE id = $1",
        holder.account_id,
    )
    assert 12 <= await charges(pool).charge() <= 13
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("begins", "before", "days"),
    [
        pytest.param(2, None, 2, id="nothing before"),
        pytest.param(2, 0, 2, id="free before"),
        pytest.param(2, 0.1, 10, id="another price before"),
        pytest.param(0, None, 0, id="today"),
    ],
)
async def test_nothing_is_charged_for_the_time_before_there_was_a_price(
    pool: Pool, begins: int, before: float | None, days: int
) -> None:
    holder = await create_holder(pool, 10_000)
    await last_charged(pool, holder, dt.timedelta(days=20))
    await store(pool, holder, 100 * GB)
    today = midnight()
    row = '\n[[models]]\nmatch = "storage"\ngb_day = '
    card = f"version = 2{row}0.5\nvalid_from = {today.date() - dt.timedelta(days=begins)}"
    if before is not None:
        card += f"{row}{before}"
    day_so_far = 0.0 if days == 10 else (now() - today) / dt.timedelta(days=1)
    charged = await charges(pool, card).charge()
    assert abs(charged - (days + day_so_far) * 50) <= 1
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    "card",
    [
        None,
        CARD.replace("gb_day = 0.5", "gb_day = 0"),
        CARD.replace('"storage"', '"stores"'),
    ],
)
async def test_without_a_rate_nothing_is_entered(
    pool: Pool, maker: Holder, card: str | None
) -> None:
    await store(pool, maker, 10 * GB)
    assert await charges(pool, card).charge() == 0
    assert len(await entries_of(pool, maker)) == 1


async def test_what_the_balance_has_not_and_what_is_held_is_not_taken(pool: Pool) -> None:
    holder = await create_holder(pool, 100)
    await pool.execute(
        "INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint)"
        " VALUES ($1, 'tb_s', $2, 70, '')",
        holder.account_id,
        holder.key_id,
    )
    await pool.execute("UPDATE accounts SET held = 70 WHERE id = $1", holder.account_id)
    await store(pool, holder, 90 * GB)
    assert await charges(pool).charge() == 30
    assert (await account_of(pool, holder)).balance == 70
    asked = await pool.fetchval(
        "SELECT asked FROM ledger WHERE kind = 'storage' AND account_id = $1", holder.account_id
    )
    assert asked == -45
    assert (await audit(pool)).violations == []


async def test_an_entry_that_is_not_bytes_times_days_breaks_the_proof(
    pool: Pool, maker: Holder
) -> None:
    await store(pool, maker, 10 * GB)
    await charges(pool).charge()
    for byte_days in (20 * GB, 10 * GB):
        await break_books(
            pool,
            f"UPDATE ledger SET quantities = '{{\"byte_day\": {byte_days}}}'"  # noqa: S608 - a number
            f" WHERE kind = 'storage' AND account_id = {maker.account_id}",
        )
        violations = (await audit(pool)).violations
        assert [line.partition(": ")[2] for line in violations] == [
            "is 5 credits for storage, its rate and what was stored make 10"
        ][: byte_days // GB - 10]
