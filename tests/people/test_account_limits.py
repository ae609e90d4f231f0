"""Limits and budgets reach every key that they bind, also those that are made at that moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import create_holder
from tests.support.locks import until_blocked
from tokenbalance.model import CLI
from tokenbalance.people.account_limits import (
    UnknownAccount,
    change_account_limits,
    get_account,
    known_time_zone,
)
from tokenbalance.people.budgets import add_budget, list_budgets
from tokenbalance.people.key_changes import change_key
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.keys import create_key
from tokenbalance.people.limits import InvalidLimit, KeyLimits
from tokenbalance.people.sign_in_tokens import create_token

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import KeyRow

ALL = ("inference", "read", "manage")
HOUR = timedelta(hours=1)
ROWS = "SELECT subject, name, amount FROM limits ORDER BY subject, name"


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


async def make(
    sessions: Sessions, holder: Holder, with_key: int | None = None, **limits: object
) -> KeyRow:
    async with sessions.begin() as session:
        key, _ = await create_key(
            session,
            holder.account_id,
            scopes=ALL,
            limits=KeyLimits.from_document(limits),
            by_key_id=with_key,
            actor=CLI,
        )
        return key


async def rows(pool: Pool) -> list[tuple[str, str, int]]:
    return [tuple(row) for row in await pool.fetch(ROWS)]


async def test_a_key_that_is_made_while_its_account_is_limited_is_bound(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    async with sessions.begin() as limiting, sessions.begin() as making:
        await change_account_limits(limiting, holder.account_id, {"tokens_per_day": 5}, actor=CLI)
        made = asyncio.ensure_future(create_key(making, holder.account_id, actor=CLI))
        await until_blocked(pool, 1)
        await limiting.commit()
        key, _ = await made
    version = "SELECT limits_version FROM api_keys WHERE id = $1"
    assert await pool.fetchval(version, key.id)
    assert await pool.fetchval(version, holder.key_id)


async def test_a_sign_in_token_has_its_limits_and_those_of_its_account(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    limits = KeyLimits(parallel_requests=2)
    async with sessions.begin() as session:
        await change_account_limits(session, holder.account_id, {"models": ("o3",)}, actor=CLI)
        plain, _ = await create_token(session, holder.account_id, HOUR)
        limited, _ = await create_token(session, holder.account_id, HOUR, limits=limits)
        assert plain.limits_version
    assert await rows(pool) == [(f"key:{limited.id}", "parallel_requests", 2)]
    # The counts of tokens that have ended are not kept for ever.
    await pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", limited.id)
    async with sessions.begin() as session:
        _ = await create_token(session, holder.account_id, HOUR)
    assert await rows(pool) == []


async def test_keys_made_with_a_key_follow_where_its_limits_become_tighter(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    top = await make(sessions, holder, tokens_per_day=90)
    child = await make(sessions, holder, top.id, endpoints=["chat", "files"])
    grandchild = await make(sessions, holder, child.id, tokens_per_day=40)
    async with sessions.begin() as session:
        changes = {"tokens_per_day": 50, "endpoints": ("files", "images")}
        await change_key(session, top.id, None, limits=changes, actor=CLI)
        for key, tokens in ((child, 50), (grandchild, 40)):
            limits = (await get_key(session, key.id, None)).limits
            assert limits == KeyLimits(tokens_per_day=tokens, endpoints=("files",))
        with pytest.raises(InvalidLimit, match=f"endpoints: key {child.id}, made with this key"):
            await change_key(session, top.id, None, limits={"endpoints": ("images",)}, actor=CLI)
        await session.rollback()
    async with sessions.begin() as session:
        await change_key(session, top.id, None, limits={"tokens_per_day": 50}, actor=CLI)
        # And stays within them.
        changed = await change_key(
            session, child.id, None, limits={"tokens_per_day": None}, actor=CLI
        )
        assert changed.limits.tokens_per_day == 50
    assert await rows(pool) == [
        (f"key:{key.id}", "tokens_per_day", amount)
        for key, amount in ((top, 50), (child, 50), (grandchild, 40))
    ]


async def test_a_key_has_the_budgets_of_the_key_that_it_is_made_with(
    sessions: Sessions, holder: Holder
) -> None:
    top = await make(sessions, holder)
    async with sessions.begin() as session:
        for superuser in (True, False):
            await add_budget(
                session,
                holder.account_id,
                amount=5,
                every="10 days",
                name=f"by superuser: {superuser}",
                key_id=top.id,
                by_superuser=superuser,
                actor=CLI,
            )
    child = await make(sessions, holder, top.id)
    async with sessions() as session:
        first, made = [
            await list_budgets(session, holder.account_id, key.id) for key in (top, child)
        ]
        budgets = [[(one.name, one.amount, one.anchor) for one in each] for each in (made, first)]
        assert budgets[0] == budgets[1]
        assert len(made) == 2
        assert [one.is_bound for one in made] == [True, False]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"every": "year"}, "every"),
        ({"every": "0 days"}, "every"),
        ({"every": "3661 days"}, "every"),
        ({"every": "-1 days"}, "every"),
        ({"amount": 0}, "amount"),
        ({"amount": 2**53}, "amount"),
        ({"unit": "requests"}, "unit"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"anchor": datetime(2030, 1, 1, tzinfo=UTC)}, "anchor"),
        ({"every": "2 days", "anchor": datetime.min.replace(tzinfo=UTC)}, "anchor"),
        ({"every": "2 days", "anchor": datetime.max.replace(tzinfo=UTC)}, "anchor"),
        ({"every": "2 days", "anchor": datetime.min}, "anchor"),  # noqa: DTZ901 - without a zone
    ],
)
async def test_what_is_wrong_with_a_budget_is_named(
    sessions: Sessions, holder: Holder, wrong: dict[str, Any], field: str
) -> None:
    budget: dict[str, Any] = {"amount": 5, "every": "week", **wrong}
    async with sessions() as session:
        with pytest.raises(InvalidLimit) as refused:
            await add_budget(session, holder.account_id, **budget, by_superuser=True, actor=CLI)
    assert refused.value.field == field


async def test_an_account_has_a_time_zone_that_is_known(sessions: Sessions, holder: Holder) -> None:
    for wrong in (
        "",
        "Mars",
        "../etc/passwd",
        "europe/berlin",
        "localtime",
        "x" * 999,
        "Europe/\0",
    ):
        with pytest.raises(InvalidLimit, match=r"^time_zone: must be an IANA name"):
            known_time_zone(wrong)
    async with sessions.begin() as session:
        await change_account_limits(session, holder.account_id, {}, "Asia/Kathmandu", actor=CLI)
        assert (await get_account(session, holder.account_id)).time_zone == "Asia/Kathmandu"
        for none in (0, 10**9, 2**63):
            with pytest.raises(UnknownAccount):
                await get_account(session, none)
