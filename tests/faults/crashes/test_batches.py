"""kill -9 of the server while a statement for many of its requests is under way.

The statement is kept waiting, its process dies, and then it is committed, or is not: nobody hears
of either. Every request ends as it would have alone, once.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.chat import CHAT
from tests.support.crashing import Servers
from tests.support.installation import (
    EXACT,
    GRANTED,
    LIMIT_S,
    POLL_S,
    VOIDED,
    Installation,
    parts,
    plainly,
    responded,
    until,
)
from tests.support.upstream import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from tests.support.upstream import Received, Response, ScriptedUpstream
    from tokenbalance.database.connections import Pool

ACCOUNTS = 6
FATES = pytest.mark.parametrize("commits", [True, False], ids=["committed", "rolled-back"])


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture
async def everybody(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, servers: Servers, tmp_path: Path
) -> AsyncIterator[list[Installation]]:
    """One installation, as each of its users sees it."""
    upstream.always(plainly)
    async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
        holder = await create_holder(pool, GRANTED)
        first = Installation(dsn, pool, holder, upstream, servers, client, tmp_path)
        others = [await create_holder(pool, GRANTED) for _ in range(ACCOUNTS - 1)]
        yield [first, *(replace(first, holder=holder) for holder in others)]
    await servers.discard()


@asynccontextmanager
async def kept_waiting(pool: Pool, table: str, *, commits: bool) -> AsyncGenerator[None]:
    """Let whoever writes to a table wait until the end; then let them go on, or never."""
    async with pool.acquire() as session, session.transaction():
        await session.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        yield
        if not commits:
            await pool.execute(f"SELECT pg_terminate_backend(pid) {WAITING}")
    await until_waiting(pool, "", there_are=False)


WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def until_waiting(pool: Pool, query: str, *, there_are: bool = True) -> None:
    """Wait until a statement like this waits for a lock, or none does."""
    async with asyncio.timeout(LIMIT_S):
        while there_are != await pool.fetchval(
            f"SELECT count(*) > 0 {WAITING} AND query LIKE '%' || $1 || '%'", query
        ):
            await asyncio.sleep(POLL_S)


def in_the_journal(installation: Installation, state: bytes) -> int:
    return sum(path.read_bytes().count(b"\n" + state) for path in installation.journals())


@FATES
async def test_holds_that_were_being_placed_together_are_all_given_back(
    pool: Pool, everybody: list[Installation], *, commits: bool
) -> None:
    server = await everybody[0].serve()
    async with kept_waiting(pool, "open_holds", commits=commits):
        asking = [asyncio.create_task(one.ask(server, CHAT)) for one in everybody]
        await until(lambda: in_the_journal(everybody[0], b"p ") == ACCOUNTS)
        await until_waiting(pool, "unnest")
        await server.kill()
        assert await asyncio.gather(*asking) == [None] * ACCOUNTS
    await everybody[0].restart()
    ends = [await one.ends() for one in everybody]
    # What was still being prepared, or gathering behind that, was never placed.
    assert all(end == [] or (commits and end == [VOIDED]) for end in ends)
    tombstones = await pool.fetchval("SELECT count(*) FROM open_holds WHERE amount = 0")
    assert tombstones == ends.count([])
    for one in everybody:
        await one.check_sums()
    assert everybody[0].upstream.requests == []


@FATES
async def test_what_was_being_settled_together_is_charged_once(
    pool: Pool, everybody: list[Installation], *, commits: bool
) -> None:
    gates = [Gate() for _ in everybody]

    def gated(request: Received) -> Response:
        return responded(request, [gates[request.number - 1], *parts(request)])

    everybody[0].upstream.always(gated)
    server = await everybody[0].serve()
    asking = [asyncio.create_task(one.ask(server, CHAT)) for one in everybody]
    await asyncio.gather(*(gate.reached.wait() for gate in gates))
    async with kept_waiting(pool, "ledger", commits=commits):
        for gate in gates:
            gate.open()
        await until(lambda: in_the_journal(everybody[0], b"u ") == ACCOUNTS)
        await until_waiting(pool, "unnest")
        await server.kill()
        assert await asyncio.gather(*asking) == [None] * ACCOUNTS
    await everybody[0].restart()
    for one in everybody:
        await one.check([EXACT])
