"""A request waits for a vocabulary only if it is counted with it, and nobody else waits."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from tests.support.books import create_holder
from tests.support.chat import CHAT
from tests.support.upstream import json_response
from tokenbalance.openai.tokens import vocabularies
from tokenbalance.openai.tokens.vocabularies import CL100K, O200K, vocabulary

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

AMPLE = 10**9
CREDITS_A_BYTE = 200
"""Enough for many requests, and too little for one not to be counted."""
USAGE: Any = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
LONG: dict[str, Any] = {
    **CHAT,
    "messages": [{"role": "user", "content": "All work and no play. " * 1_000}],
}


@pytest.fixture
def may_read() -> Generator[threading.Event]:
    """Nothing is loaded, and reading does not end before this is set."""
    loaded = {name: vocabulary(name) for name in (O200K, CL100K)}
    may_end = threading.Event()

    def read(name: str) -> object:
        assert may_end.wait(20)
        return loaded[name]

    with (
        mock.patch.dict(vocabularies._LOADED, clear=True),
        mock.patch.object(vocabularies, "_read", read),
    ):
        yield may_end
        may_end.set()


async def send(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, body: dict[str, Any]
) -> int:
    message: Any = {"role": "assistant", "content": "one two three"}
    upstream.script(json_response({"choices": [{"index": 0, "message": message}], "usage": USAGE}))
    response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    return response.status_code


@pytest.mark.parametrize("body", [CHAT, LONG])
async def test_a_request_that_is_not_counted_loads_none(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    body: dict[str, Any],
    may_read: threading.Event,
) -> None:
    may_read.set()
    assert await send(http, await create_holder(pool, AMPLE), upstream, body) == 200
    assert vocabularies._LOADED == {}


async def test_a_request_that_its_account_can_never_pay_for_loads_none(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, may_read: threading.Event
) -> None:
    may_read.set()
    assert await send(http, await create_holder(pool, 10), upstream, LONG) == 402
    assert vocabularies._LOADED == {}


@pytest.mark.parametrize("body", [CHAT, LONG])
async def test_only_what_is_counted_waits_until_its_vocabulary_is_loaded(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    body: dict[str, Any],
    may_read: threading.Event,
) -> None:
    counted = await create_holder(pool, CREDITS_A_BYTE * len(str(body)))
    ample = await create_holder(pool, AMPLE)
    waiting = [asyncio.create_task(send(http, counted, upstream, body)) for _ in range(8)]
    assert [await send(http, ample, upstream, body) for _ in range(3)] == [200] * 3
    assert not any(task.done() for task in waiting)
    may_read.set()
    assert await asyncio.gather(*waiting) == [200] * 8
