"""kill -9 of a server whose database refused, or whose results were lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.support.crashing import KILLED, Point, Server
from tests.support.fault_proxy import FaultProxy, database_target, dsn_through
from tests.support.installation import (
    BOTH_KINDS,
    EXACT,
    LIMIT_S,
    NEVER_PLACED,
    POLL_S,
    Installation,
    parts,
    responded,
)
from tests.support.upstream import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tokenbalance.database.connections import Pool


@asynccontextmanager
async def asking_through(
    installation: Installation, document: dict[str, Any], point: Point | None
) -> AsyncGenerator[tuple[FaultProxy, Gate, Server, asyncio.Task[str | None]]]:
    """A server behind a database that can fail, with an answer under way."""
    gate = Gate()
    # One connection, on which a first request has prepared every statement of the second.
    installation.variables["DATABASE_POOL_SIZE"] = "1"
    async with FaultProxy(database_target(installation.dsn)) as proxy:
        # Nothing else may take that connection meanwhile.
        installation.variables["TOKENBALANCE_SWEEP_S"] = "3600"
        server = await installation.serve(point, dsn=dsn_through(proxy, installation.dsn))
        del installation.variables["TOKENBALANCE_SWEEP_S"]
        assert await installation.ask(server, document) is not None
        installation.upstream.script(lambda request: responded(request, [gate, *parts(request)]))
        asking = asyncio.create_task(installation.ask(server, document))
        await gate.reached.wait()
        yield proxy, gate, server, asking


@BOTH_KINDS
async def test_a_settlement_that_the_database_refused_is_in_the_journal(
    installation: Installation, document: dict[str, Any]
) -> None:
    async with asking_through(installation, document, Point.SYNCED) as (
        proxy,
        gate,
        server,
        asking,
    ):
        proxy.cut()
        gate.open()
        assert await server.ended() == KILLED
        assert await asking is None
    await installation.restart()
    await installation.check([EXACT, EXACT])


@BOTH_KINDS
async def test_who_was_answered_without_a_database_is_charged_after_the_death(
    installation: Installation, document: dict[str, Any]
) -> None:
    async with asking_through(installation, document, None) as (proxy, gate, server, asking):
        proxy.cut()
        gate.open()
        assert await asking is not None
        await server.kill()
    assert [state for state, _, _ in await installation.ends()] == ["settled", "open"]
    await installation.restart()
    await installation.check([EXACT, EXACT])


@pytest.mark.direct_sessions
@BOTH_KINDS
async def test_a_settlement_whose_acknowledgement_was_lost_is_not_repeated(
    installation: Installation, document: dict[str, Any]
) -> None:
    async with asking_through(installation, document, None) as (proxy, gate, server, asking):
        proxy.drop_responses()
        gate.open()
        await installation.until_none_is_open()
        await server.kill()
        assert await asking is None
    assert len(installation.journals()) == 1
    await installation.restart()
    await installation.check([EXACT, EXACT])


async def test_a_placement_still_under_way_when_its_process_died_gets_a_tombstone(
    installation: Installation,
) -> None:
    server = await installation.serve()
    async with installation.pool.acquire() as session, session.transaction():
        await session.execute("SELECT FROM accounts FOR NO KEY UPDATE")
        asking = asyncio.create_task(installation.ask(server, CHAT))
        await until_placing(installation.pool, 1)
        await server.kill()
        assert await asking is None
        await installation.restart()
        await until_placing(installation.pool, 1)
    await until_placing(installation.pool, 0)
    await installation.check([NEVER_PLACED])
    assert await installation.pool.fetchval("SELECT array_agg(amount) FROM open_holds") == [0]
    assert installation.upstream.requests == []


async def until_placing(pool: Pool, count: int) -> None:
    """Wait until so many holds are being placed, be it for somebody who is dead."""
    async with asyncio.timeout(LIMIT_S):
        while count != await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            # A statement that is only being prepared is active, too. Only the first kilobyte of a
            # query is shown: both are known by their comments.
            " AND wait_event_type = 'Lock'"
            " AND (query LIKE '%Reserves what is wanted%' OR query LIKE '%The tombstone:%')"
        ):
            await asyncio.sleep(POLL_S)
