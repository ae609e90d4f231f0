"""Prompts whose client leaves while they are counted, or wait for it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING
from unittest import mock

import orjson

from tests.support.books import create_holder, hold_states
from tests.support.raw_requests import connection_to
from tokenbalance.openai.tokens import counting

if TYPE_CHECKING:
    import pytest

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SENTENCE = "All work and no play makes Jack a dull boy. "
LONG = orjson.dumps(
    {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": SENTENCE * 30_000}],
        "max_tokens": 5,
    }
)
PIECES = 21
"""Of them."""
PATIENCE_S = 20.0


async def until_left(caplog: pytest.LogCaptureFixture, number: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum("client left" in record.message for record in caplog.records) < number:
            await asyncio.sleep(0.01)


async def test_a_count_is_not_begun_and_not_continued_for_a_client_that_has_left(
    product: str, pool: Pool, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "tokenbalance.proxy.pipeline")
    holder = await create_holder(pool, 300_000)
    begun, release = threading.Event(), threading.Event()

    def count_piece(*_arguments: object) -> int:
        begun.set()
        _ = release.wait(PATIENCE_S)
        return 1

    with mock.patch.object(counting, "_count_piece", side_effect=count_piece) as counted:
        async with connection_to(product) as first, connection_to(product) as second:
            first.begin(holder, len(LONG), body=LONG)
            _ = await asyncio.to_thread(begun.wait, PATIENCE_S)
            second.begin(holder, len(LONG), body=LONG)
            await second.writer.drain()
            second.writer.write_eof()
            second.writer.transport.abort()
            await until_left(caplog, 1)
        await until_left(caplog, 2)
        release.set()
        # Counted after all others of its account, as the largest.
        last = LONG.replace(b"dull boy", b"dull old boy", 9)
        async with connection_to(product) as third:
            third.begin(holder, len(last), body=last)
            assert (await third.response()).status == 200
    # One for the first, and all of the last: for its hold, and for its charge.
    assert counted.call_count == 1 + 2 * PIECES
    assert len(upstream.requests) == 1
    assert await hold_states(pool, holder) == ["settled"]
