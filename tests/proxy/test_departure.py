"""A stream whose client has left, while its upstream says nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import charges_of, create_holder, hold_states
from tests.support.chat import DONE, STREAM, USAGE, content
from tests.support.upstream import Gate, ScriptedUpstream, event_stream
from tokenbalance.wire.upstream.connections import Connections

if TYPE_CHECKING:
    import httpx2

    from tokenbalance.database.connections import Pool

LIMIT_S = 10.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time that the clock of connections is looked at; silence is short here."""
    looked: list[int] = []
    look = Connections._look

    def counted(self: Connections) -> None:
        look(self)
        looked.append(1)

    monkeypatch.setattr("tokenbalance.proxy.departure.DRAIN_SILENCE_S", 0.05)
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.LOOK_S", 0.02)
    monkeypatch.setattr(Connections, "_look", counted)
    return looked


async def until_looked_at(looks: list[int], times: int) -> None:
    ends = len(looks) + times
    async with asyncio.timeout(LIMIT_S):
        while len(looks) < ends:
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("looks")
async def test_a_stream_that_nobody_reads_and_nobody_writes_is_cut_and_charged_by_estimate(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(event_stream(content("one two"), Gate(), USAGE, DONE))
    async with http.stream(
        "POST", "/v1/chat/completions", json=STREAM, headers=holder.headers
    ) as response:
        async for _ in response.aiter_raw():
            break
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    async with asyncio.timeout(LIMIT_S):
        while await hold_states(pool, holder) != ["settled"]:
            await asyncio.sleep(0.01)
    (charge,) = await charges_of(pool, holder)
    assert (charge["input"], charge["output"], charge["estimated"]) == (9, 2, True)


async def test_a_stream_with_a_reader_may_be_silent_for_longer(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, looks: list[int]
) -> None:
    holder = await create_holder(pool, 1000)
    gate = Gate()
    upstream.script(event_stream(content("one two"), gate, USAGE, DONE))
    async with http.stream(
        "POST", "/v1/chat/completions", json=STREAM, headers=holder.headers
    ) as response:
        pieces = response.aiter_raw()
        await anext(pieces)
        await until_looked_at(looks, 10)
        gate.open()
        rest = b"".join([piece async for piece in pieces])
    assert rest.endswith(b"data: [DONE]\n\n")
    (charge,) = await charges_of(pool, holder)
    assert not charge["estimated"]
