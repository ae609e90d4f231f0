"""Answers of bytes that are charged: speech, of which only the end waits for the charge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import httpx2
import pytest

from tests.support.books import account_of, create_holder, hold_states
from tests.support.upstream import Framing, Gate, Response

if TYPE_CHECKING:
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

PATH = "/v1/audio/speech"
SPOKEN = {"model": "gpt-4o-mini-tts", "input": "Hello!", "voice": "alloy"}
OF_AUDIO = ("content-type", "audio/mpeg")


@pytest.mark.parametrize("framing", [Framing.NONE, Framing.CHUNKED])
async def test_speech_is_heard_as_it_comes_and_is_charged_before_its_end(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream, framing: Framing
) -> None:
    holder = await create_holder(pool, 100_000)
    gate = Gate()
    length = [("content-length", "6")] if framing is Framing.NONE else []
    upstream.script(
        Response(headers=[OF_AUDIO, *length], body=[b"abc", gate, b"def"], framing=framing)
    )
    async with http.stream("POST", PATH, json=SPOKEN, headers=holder.headers) as response:
        pieces = response.aiter_raw()
        heard = await anext(pieces)
        assert b"abc".startswith(heard)
        assert len(heard) >= 2
        assert await hold_states(pool, holder) == ["open"]
        gate.open()
        while len(heard) < 6:
            heard += await anext(pieces)
        if framing is Framing.CHUNKED:
            assert await anext(pieces, None) is None
        assert await hold_states(pool, holder) == ["settled"]
    assert heard == b"abcdef"
    account = await account_of(pool, holder)
    assert account.balance < 100_000
    assert account.held == 0


async def test_speech_that_breaks_off_is_charged_and_breaks_off_for_the_client(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 100_000)
    upstream.script(Response(headers=[OF_AUDIO], body=b"abcdef", cut_after=3))
    with pytest.raises(httpx2.RemoteProtocolError):
        _ = await http.post(PATH, json=SPOKEN, headers=holder.headers)
    assert await hold_states(pool, holder) == ["settled"]


@pytest.mark.parametrize("framing", [Framing.NONE, Framing.CHUNKED])
async def test_speech_without_a_byte_costs_nothing_and_has_ended_in_the_books_before_its_end(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream, framing: Framing
) -> None:
    holder = await create_holder(pool, 100_000)
    length = [("content-length", "0")] if framing is Framing.NONE else []
    upstream.script(Response(headers=[OF_AUDIO, *length], body=b"", framing=framing))
    response = await http.post(PATH, json=SPOKEN, headers=holder.headers)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "audio/mpeg"
    assert await hold_states(pool, holder) == ["voided"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100_000, 0)


async def test_the_head_of_an_empty_body_waits_for_the_books(
    http: httpx2.AsyncClient, pool: Pool, dsn: str, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 100_000)
    gate = Gate()
    empty = [OF_AUDIO, ("content-length", "0")]
    upstream.script(Response(headers=empty, body=b"", framing=Framing.NONE, head_gate=gate))
    sent = asyncio.create_task(http.post(PATH, json=SPOKEN, headers=holder.headers))
    await upstream.received()
    blocking = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(5), blocking.transaction():
            await blocking.execute("LOCK TABLE open_holds IN ACCESS EXCLUSIVE MODE")
            gate.open()
            for _ in range(2):
                while not await blocking.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted"
                ):
                    pass
            assert not sent.done()
    finally:
        await blocking.close()
    assert (await sent).status_code == 200
    assert await hold_states(pool, holder) == ["voided"]
