"""Limits become rows that are counted, and keys that they bind get a new version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from tests.support.books import create_holder
from tokenbalance.database.tables import Account, ApiKey
from tokenbalance.model.limits import ACCOUNT, COUNTED, subject_of_key
from tokenbalance.people.callers import find_caller
from tokenbalance.people.limit_rows import renew_versions, store_limits

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Policy


async def limit_key(sessions: Sessions, holder: Holder, **limits: int | list[str]) -> None:
    async with sessions.begin() as session:
        _ = await session.execute(
            update(ApiKey).where(ApiKey.id == holder.key_id).values(limits=limits)
        )
        subject = subject_of_key(holder.key_id)
        await store_limits(session, holder.account_id, subject, limits)
        await renew_versions(session, holder.account_id, holder.key_id)


async def policy(pool: Pool, holder: Holder) -> Policy | None:
    return (await find_caller(pool, holder.secret)).policy


async def rows(pool: Pool) -> list[tuple[str, str, str, str, int]]:
    found = await pool.fetch(
        "SELECT subject, name, unit, period, amount FROM limits ORDER BY subject, name"
    )
    return [tuple(row) for row in found]


async def test_limits_of_a_key_are_rows_and_rules_of_the_newest_version(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    assert await policy(pool, holder) is None
    subject = subject_of_key(holder.key_id)
    await limit_key(sessions, holder, tokens_per_day=7, parallel_requests=2, models=["gpt-*"])
    assert await rows(pool) == [
        (subject, "parallel_requests", "holds", "open", 2),
        (subject, "tokens_per_day", "tokens", "day", 7),
    ]
    first = await policy(pool, holder)
    assert first is not None
    assert first.subjects == (subject, ACCOUNT)
    assert [(rules.subject, rules.models) for rules in first.rules] == [(subject, ("gpt-*",))]
    await pool.execute("UPDATE limits SET used = 5")
    await limit_key(sessions, holder, tokens_per_day=9)
    assert await rows(pool) == [(subject, "tokens_per_day", "tokens", "day", 9)]
    assert await pool.fetchval("SELECT used FROM limits") == 5
    second = await policy(pool, holder)
    assert second is not None
    assert (second.version > first.version, second.rules) == (True, ())
    await limit_key(sessions, holder)
    assert await rows(pool) == []
    assert await policy(pool, holder) is None


async def test_limits_of_an_account_bind_all_of_its_keys(pool: Pool, sessions: Sessions) -> None:
    holder, other = await create_holder(pool), await create_holder(pool)
    limits = dict.fromkeys(COUNTED, 3)
    async with sessions.begin() as session:
        _ = await session.execute(
            update(Account).where(Account.id == holder.account_id).values(limits=limits)
        )
        await store_limits(session, holder.account_id, ACCOUNT, limits)
        await renew_versions(session, holder.account_id)
    assert [name for _, name, *_ in await rows(pool)] == sorted(COUNTED)
    assert await policy(pool, holder) is not None
    assert await policy(pool, other) is None
