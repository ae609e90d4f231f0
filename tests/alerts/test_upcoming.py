"""What is about to end is told once, while there is time."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from tests.support.books import create_holder, placed
from tests.support.days import today
from tests.support.grants import grant, pass_time
from tests.support.usage import Used, use
from tokenbalance.alerts.upcoming import MODEL_NOTICE, Upcoming
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import OPENAI, KnownModel, UpstreamTraits, Usage
from tokenbalance.openai.tokens.models import model_for

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions


async def test_keys_that_expire_within_a_week_are_told_once(pool: Pool, sessions: Sessions) -> None:
    soon, later, short, revoked, suspended = [await create_holder(pool) for _ in range(5)]
    for holder, made, ends in (
        (soon, "30 days", "6 days"),
        (later, "30 days", "8 days"),
        (short, "1 day", "1 day"),
        (revoked, "30 days", "6 days"),
        (suspended, "30 days", "6 days"),
    ):
        await pool.execute(
            "UPDATE api_keys SET created_at = now() - $2::interval,"
            " expires_at = now() + $3::interval WHERE id = $1",
            holder.key_id,
            interval(made),
            interval(ends),
        )
    await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", revoked.key_id)
    await pool.execute("UPDATE api_keys SET is_suspended = true WHERE id = $1", suspended.key_id)
    for _ in range(2):
        await Upcoming(sessions, OPENAI).look()
    rows = await pool.fetch("SELECT account_id, event, (data ->> 'key_id')::bigint FROM alerts")
    assert [tuple(row) for row in rows] == [(soon.account_id, "key.expiring", soon.key_id)]


async def test_grants_of_which_something_ends_within_a_week_are_told_once(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    _ = await grant(sessions, holder, 20, days=8)
    soon = await grant(sessions, holder, 30, days=9)
    _ = await grant(sessions, holder, 40, days=30)
    _ = await grant(sessions, holder, 5, days=3, priority=99)
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 25)
    assert await book.settle(hold, Usage({"input": 25}, total=25))
    await pass_time(pool, holder, 2.5)
    for _ in range(2):
        await Upcoming(sessions, OPENAI).look()
    rows = await pool.fetch(
        "SELECT (data ->> 'grant_id')::bigint, (data ->> 'remaining')::bigint FROM alerts"
        " WHERE event = 'grant.expiring' AND account_id = $1",
        holder.account_id,
    )
    assert [tuple(row) for row in rows] == [(soon, 25)]


async def test_models_in_use_that_are_shut_down_soon_are_told_once(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1000)
    for name in ("ending-1", "staying-1"):
        _ = await use(pool, holder, Used(model=name))
    facts = model_for("gpt-4o")
    day = today() + MODEL_NOTICE
    rows = (
        KnownModel("staying-", facts, day + dt.timedelta(days=2)),
        KnownModel("ending-", facts, day),
        KnownModel("unused-", facts, day),
    )
    for _ in range(2):
        await Upcoming(sessions, UpstreamTraits(own_models=rows)).look()
    (row,) = await pool.fetch("SELECT account_id, event, data ->> 'model' FROM alerts")
    assert tuple(row) == (None, "model.shutdown_soon", "ending-1")


def interval(text: str) -> dt.timedelta:
    return dt.timedelta(days=int(text.split(maxsplit=1)[0]))
