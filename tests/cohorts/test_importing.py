"""An import is all or nothing, once, and alone or beside others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.cohorts import importing
from tokenbalance.cohorts.credits import credit_tag
from tokenbalance.cohorts.importing import Wanted, import_users, plan_import
from tokenbalance.model import CLI
from tokenbalance.people.imports import enrolling
from tokenbalance.people.imports.enrolling import ImportRepeated
from tokenbalance.people.imports.mistakes import ImportRefused
from tokenbalance.people.imports.planning import Existing
from tokenbalance.people.imports.results import Gives
from tokenbalance.people.tags import set_tag_active
from tokenbalance.people.users import EmailTaken

if TYPE_CHECKING:
    from tokenbalance.cohorts.importing import Imported
    from tokenbalance.database.connections import Pool, Sessions

HEADER = "email,credits,tag,parallel_requests,tokens_per_day\n"
TABLES = ("users", "accounts", "ledger", "api_keys", "limits", "welcome_links", "user_imports")


def students(first: int, last: int) -> str:
    rows = (f"s{n}@x.org,{n},class,3,1000\n" for n in range(first, last + 1))
    return HEADER + "".join(rows)


async def run(sessions: Sessions, wanted: Wanted, key: str | None = None) -> Imported:
    async with sessions.begin() as session:
        return await import_users(session, wanted, CLI, key)


async def rows_of(pool: Pool) -> list[int]:
    return [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]  # noqa: S608 - constants


async def test_an_import_of_several_batches_has_everything_in_order(
    sessions: Sessions, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "_AT_ONCE", 4)
    imported = await run(sessions, Wanted(table=students(1, 10)), "once")
    assert [result.email for result in imported.results] == [f"s{n}@x.org" for n in range(1, 11)]
    assert await rows_of(pool) == [10, 10, 10, 10, 20, 0, 1]
    rows = await pool.fetch(
        "SELECT email, balance, secret_sha256 = sha256(given.secret::bytea) AS fits,"
        "       limits_version > 0 AS limited"
        "  FROM users JOIN accounts a ON a.user_id = users.id JOIN api_keys k"
        "    ON k.account_id = a.id JOIN unnest($1::text[], $2::text[]) given (mail, secret)"
        "    ON given.mail = email ORDER BY users.id",
        [result.email for result in imported.results],
        [result.secret for result in imported.results],
    )
    assert [tuple(row) for row in rows] == [(f"s{n}@x.org", n, True, True) for n in range(1, 11)]
    events = await pool.fetch("SELECT event, count(*) FROM events GROUP BY 1 ORDER BY 1")
    told = {"balance.granted": 10, "key.created": 10, "user.created": 10}
    assert dict(tuple(row) for row in events) == told
    assert (await audit(pool)).violations == []


async def test_a_failure_in_the_middle_leaves_nothing(
    sessions: Sessions, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(importing, "grant", fail)
    with pytest.raises(ConnectionError):
        _ = await run(sessions, Wanted(table=students(1, 3)), "once")
    monkeypatch.undo()
    assert await rows_of(pool) == [0] * len(TABLES)
    _ = await run(sessions, Wanted(table=students(1, 3)), "once")


async def test_of_two_imports_with_one_key_at_once_one_is_carried_out(
    sessions: Sessions, pool: Pool
) -> None:
    wanted = Wanted(table=students(1, 5), gives=Gives.LINKS)
    both = await asyncio.gather(
        *(run(sessions, wanted, "once") for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(one, ImportRepeated) for one in both) == 1
    assert await rows_of(pool) == [5, 5, 5, 0, 10, 5, 1]


async def test_of_two_imports_of_the_same_people_at_once_one_is_carried_out(
    sessions: Sessions, pool: Pool
) -> None:
    both = await asyncio.gather(
        *(run(sessions, Wanted(table=students(1, 5)), key) for key in ("a", "b")),
        return_exceptions=True,
    )
    assert sum(isinstance(one, (EmailTaken, ImportRefused)) for one in both) == 1
    assert await rows_of(pool) == [5, 5, 5, 5, 10, 0, 1]


async def test_work_on_the_same_users_in_any_order_never_deadlocks(
    sessions: Sessions, pool: Pool
) -> None:
    _ = await run(sessions, Wanted(table=students(1, 8)))
    upwards = [f"s{n}@x.org,1,more,,\n" for n in range(1, 9)]
    tables = (HEADER + "".join(order) for order in (upwards, reversed(upwards)))

    async def credit() -> None:
        async with sessions.begin() as session:
            _ = await credit_tag(session, "class", 1, Cause(CLI))

    async def disable() -> None:
        async with sessions.begin() as session:
            _ = await set_tag_active(session, "class", active=False, actor=CLI)

    adding = [Wanted(table=table, existing=Existing.ADD) for table in tables]
    _ = await asyncio.gather(
        *(run(sessions, wanted) for wanted in adding), *(credit() for _ in range(3)), disable()
    )
    balances = await pool.fetch("SELECT balance FROM accounts ORDER BY id")
    assert [row["balance"] for row in balances] == [n + 2 + 3 for n in range(1, 9)]
    assert await pool.fetchval("SELECT bool_and(tags = '{class,more}') FROM users")
    assert (await audit(pool)).violations == []


async def test_credits_that_an_account_cannot_take_refuse_the_import_by_line(
    sessions: Sessions, pool: Pool
) -> None:
    holder = await create_holder(pool, 2**53 - 1)
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
    table = f"email,credits\nnew@x.org,5\n{email},1\n"
    with pytest.raises(ImportRefused, match="line 3, credits: an amount or a balance must be at"):
        _ = await run(sessions, Wanted(table=table, existing=Existing.ADD))
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


async def test_a_plan_writes_nothing(sessions: Sessions, pool: Pool) -> None:
    async with sessions.begin() as session:
        plan = await plan_import(session, Wanted(table=students(1, 3)))
    assert (len(plan.new), plan.credits) == (3, 6)
    assert await rows_of(pool) == [0] * len(TABLES)
