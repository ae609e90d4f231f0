"""Postgres crashes before the commit of a hold is on the disk, and has forgotten it.

The request was sent upstream by then. It is charged once all the same, with its hold put back.
"""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.database_server import Server, linux
from tests.support.installation import BOTH_KINDS, parts, responded
from tests.support.postgres import empty, start_cluster
from tests.support.product import serving
from tests.support.upstream import Gate, ScriptedUpstream
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.connections import Pool, open_pool
from tokenbalance.database.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.books import Holder

pytestmark = linux
BALANCE = 1000


class Forgetful(Server):
    """A server that writes what does not wait for the disk only when somebody else waits."""

    def hold_back(self) -> None:
        """Stop the process that would write it in the background."""
        for process in self.processes():
            if b"walwriter" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGSTOP)

    def crash(self) -> None:
        self.send(signal.SIGKILL)
        self.cluster.stop()
        self.start()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forgetful]:
    folder = tmp_path_factory.mktemp("forgetful")
    server = Forgetful(folder, start_cluster(folder))
    server.move_in()
    # In a thread: Alembic starts an event loop of its own.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(migrate, server.dsn).result()
    yield server
    server.stop()


@pytest.fixture
async def pool(server: Forgetful) -> AsyncIterator[Pool]:
    await empty(server.dsn)
    async with open_pool(server.dsn, 10) as pool:
        yield pool


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, BALANCE)


async def after_a_crash(server: Forgetful, pool: Pool, held_before: int) -> None:
    """Crash, and be sure that the hold is gone."""
    assert await pool.fetchval("SELECT sum(held)::bigint FROM accounts") == held_before
    server.crash()
    async with open_pool(server.dsn, 1) as after:
        assert await after.fetchval("SELECT sum(held)::bigint FROM accounts") == 0
        assert await after.fetchval("SELECT count(*) FROM open_holds") == 0


async def charges(pool: Pool) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "SELECT state, -amount, hold, overrun, model FROM ledger WHERE state IS NOT NULL"
    )
    return [tuple(row) for row in rows]


async def are_right(pool: Pool) -> bool:
    return (await audit(pool)).ok


@BOTH_KINDS
async def test_a_request_whose_hold_was_forgotten_is_charged_once(
    server: Forgetful, pool: Pool, holder: Holder, document: dict[str, Any]
) -> None:
    gate = Gate()
    async with ScriptedUpstream() as upstream, serving(server.dsn, upstream.base_url) as url:
        upstream.always(lambda request: responded(request, [gate, *parts(request)]))
        async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
            # What was committed before is on the disk, whatever this server waits for.
            await pool.execute("CHECKPOINT")
            server.hold_back()
            asking = asyncio.create_task(
                client.post(
                    "/v1/chat/completions",
                    json=document,
                    headers={"authorization": f"Bearer {holder.secret}"},
                )
            )
            await asyncio.wait_for(gate.reached.wait(), 20)
            held = cast("int", await pool.fetchval("SELECT held FROM accounts"))
            assert held > 0
            await after_a_crash(server, pool, held)
            gate.open()
            assert (await asking).status_code == 200
    async with open_pool(server.dsn, 1) as after:
        assert await charges(after) == [("settled", 12, held, 0, "gpt-4o-mini")]
        row = await after.fetchrow("SELECT balance, held FROM accounts")
        assert row is not None
        assert tuple(row) == (BALANCE - 12, 0)
        assert await are_right(after)
