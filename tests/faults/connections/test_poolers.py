"""Behind PgBouncer in transaction mode: statements work, and migrations say what they need."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import literal, select

from tests.support.pooler import SERVERS, find_pooler, pooling
from tokenbalance.cli.database import PoolerInTheWay, migrate_to_head
from tokenbalance.database.connections import Route, open_pool, open_sessions, route_to, routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokenbalance.postgres import EmbeddedPostgres

pytestmark = pytest.mark.skipif(find_pooler() is None, reason="PgBouncer is not installed")
CLIENTS = 30
ROUNDS = 5


@pytest.fixture(scope="module")
def behind(cluster: EmbeddedPostgres) -> Iterator[Callable[[str], str]]:
    with pooling(find_pooler() or "", cluster) as through:
        yield through


async def test_the_server_itself_is_recognised(cluster: EmbeddedPostgres) -> None:
    assert await route_to(cluster.dsn_of("postgres"), 5) is Route.DIRECT


async def test_statements_of_many_sessions_work_on_few_servers(
    cluster: EmbeddedPostgres, behind: Callable[[str], str]
) -> None:
    dsn = behind(cluster.dsn_of("postgres"))
    assert (await route_to(dsn, 5)).is_pooled
    async with open_pool(dsn, CLIENTS) as pool, open_sessions(dsn) as sessions:

        async def use_both(number: int) -> None:
            for _ in range(ROUNDS):
                assert await pool.fetchval("SELECT $1::int", number) == number
                async with sessions.begin() as session:
                    assert await session.scalar(select(literal(number))) == number

        await asyncio.gather(*(use_both(number) for number in range(CLIENTS)))


async def test_named_statements_would_not_have_worked(
    cluster: EmbeddedPostgres, behind: Callable[[str], str]
) -> None:
    """What the product avoids, where the pooler does not keep statements."""
    dsn = behind(cluster.dsn_of("postgres"))
    if (await route_to(dsn, 5)).keeps_statements:
        pytest.skip("this PgBouncer keeps prepared statements")
    first, second = [await asyncpg.connect(dsn) for _ in range(2)]
    try:
        assert await first.fetchval("SELECT 1") == 1
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            async with second.transaction():
                await first.fetchval("SELECT 1")
    finally:
        first.terminate()
        second.terminate()


async def test_nobody_is_misled_by_what_others_have_left_at_the_pooler(
    cluster: EmbeddedPostgres, behind: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler that forgets statements leaves those of dead processes on its servers."""
    monkeypatch.setattr(routes, "_PROBE_S", 0.1)
    dsn = behind(cluster.dsn_of("postgres"))
    expected = await route_to(dsn, 5)
    taken = [await asyncpg.connect(dsn, statement_cache_size=0) for _ in range(SERVERS - 1)]
    try:
        transactions = [session.transaction() for session in taken]
        for transaction in transactions:
            await transaction.start()
        # On the only server that is free, which nobody can take from it: nothing is known.
        assert await found_anew(monkeypatch, dsn) is Route.FORGETFUL
        # Of two servers, this one is taken first, and the other has what was left.
        await transactions[0].rollback()
        monkeypatch.undo()
        assert await found_anew(monkeypatch, dsn) is expected
    finally:
        for session in taken:
            session.terminate()


async def found_anew(monkeypatch: pytest.MonkeyPatch, dsn: str) -> Route:
    """The way to the server, as another process finds it."""
    with monkeypatch.context() as patch:
        patch.setattr(routes, "_known", {})
        return await route_to(dsn, 5)


def test_migrations_want_the_server_itself(
    cluster: EmbeddedPostgres, behind: Callable[[str], str]
) -> None:
    with pytest.raises(PoolerInTheWay, match="set DATABASE_DIRECT_URL"):
        migrate_to_head(behind(cluster.dsn_of("postgres")))
