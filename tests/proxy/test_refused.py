"""Refusals of ours are counted for the caller who got them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from tests.support.books import create_holder
from tests.support.chat import CHAT
from tests.support.product import serving
from tests.support.upstream import Response

if TYPE_CHECKING:
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


async def test_a_flood_of_refusals_is_in_the_books_when_the_server_has_stopped(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    empty, rich = await create_holder(pool), await create_holder(pool, 1000)
    upstream.script(Response(status=429, body=b"{}"))
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        for _ in range(3):
            await http.post("/v1/chat/completions", json=CHAT, headers=empty.headers)
        await http.get("/v1/batches", headers=rich.headers)
        # Not by us, not a refusal, and by nobody who is known.
        await http.post("/v1/chat/completions", json=CHAT, headers=rich.headers)
        await http.post("/v1/chat/completions", json=CHAT, headers=rich.headers)
        await http.post("/v1/chat/completions", json=CHAT)
    rows = await pool.fetch("SELECT account_id, key_id, code, count FROM refusals ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        (empty.account_id, empty.key_id, "insufficient_quota", 3),
        (rich.account_id, rich.key_id, "endpoint_not_allowed", 1),
    ]
