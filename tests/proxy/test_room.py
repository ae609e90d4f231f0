"""What requests may occupy before they are paid for: bytes, time, and how many at once."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

import httpx2
import orjson
import pytest

from tests.support.books import create_holder, placed
from tests.support.chat import CHAT, STREAM
from tests.support.product import serving
from tests.support.raw_requests import CHAT_PATH, RawResponse, connection_to
from tests.support.slow_client import a_trickle, status_for
from tests.support.waiting import HOLD, client_of, gated, until_waiting
from tokenbalance.books.ledger.book import Book
from tokenbalance.errors import ServiceUnavailable, TooManyRequests
from tokenbalance.proxy import room as rooms
from tokenbalance.proxy.room import MEBIBYTE, UNCOUNTED_BYTES, Room
from tokenbalance.wire.client import request as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

BODY = orjson.dumps(CHAT)
RICH = 10**12
PATIENCE_S = 10.0


@pytest.fixture
async def narrow(
    dsn: str, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """A product with room for two bodies of a mebibyte of an account, and three in all."""
    monkeypatch.setattr(rooms, "ACCOUNT_BYTES_MAX", MEBIBYTE)
    monkeypatch.setattr(rooms, "PROCESS_BYTES_MAX", 3 * MEBIBYTE)
    async with serving(dsn, upstream.base_url, body_max_mb=1) as url:
        yield url


async def first_refused(url: str, holders: list[Holder], other: Holder) -> RawResponse:
    """Send a mebibyte less a byte for each; returns the first response, with another user served.

    Afterwards all of them are gone.
    """
    async with AsyncExitStack() as stack:
        responses: list[asyncio.Task[RawResponse]] = []
        for holder in holders:
            connection = await stack.enter_async_context(connection_to(url))
            connection.begin(holder, MEBIBYTE, body=bytes(MEBIBYTE - 1))
            responses.append(asyncio.create_task(connection.response()))
        refused, unfinished = await asyncio.wait(
            responses, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
        calm = await stack.enter_async_context(connection_to(url))
        calm.begin(other, len(BODY), body=BODY)
        assert (await calm.response()).status == 200
        for response in unfinished:
            _ = response.cancel()
        return refused.pop().result()


async def test_an_account_that_sends_too_much_unpaid_is_refused_and_another_user_is_served(
    narrow: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    greedy, other = await create_holder(pool, 68), await create_holder(pool, 1000)
    refused = await first_refused(narrow, [greedy] * 3, other)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert refused.error["type"] == "rate_limit_error"
    assert f"larger than {2 * MEBIBYTE} bytes together" in refused.error["message"]
    assert refused.headers["retry-after"] == "1"
    assert "x-should-retry" not in refused.headers
    assert len(upstream.requests) == 1


async def test_a_full_process_refuses_long_bodies_serves_short_ones_and_becomes_empty_again(
    narrow: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holders = [await create_holder(pool, RICH) for _ in range(5)]
    refused = await first_refused(narrow, holders[:4], holders[4])
    assert (refused.status, refused.error["code"]) == (503, "service_unavailable")
    assert "no room for another large request body" in refused.error["message"]
    assert refused.headers["retry-after"] == "1"
    padded = BODY.ljust(MEBIBYTE)
    async with httpx2.AsyncClient(base_url=narrow) as http, asyncio.timeout(PATIENCE_S):
        while (
            await http.post(CHAT_PATH, content=padded, headers=holders[0].headers)
        ).status_code != 200:
            await asyncio.sleep(0.01)
    assert len(upstream.requests) == 2


async def test_a_body_whose_hold_is_placed_takes_no_room(
    narrow: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, RICH)
    gates = gated(upstream, 4)
    padded = orjson.dumps(STREAM).ljust(MEBIBYTE)
    async with httpx2.AsyncClient(base_url=narrow, timeout=30) as http:
        asking = [asyncio.create_task(http.post(CHAT_PATH, content=padded, headers=holder.headers))]
        for number in range(1, 4):
            await upstream.received(number)
            asking.append(
                asyncio.create_task(http.post(CHAT_PATH, content=padded, headers=holder.headers))
            )
        await upstream.received(4)
        for gate in gates:
            gate.open()
        assert {response.status_code for response in await asyncio.gather(*asking)} == {200}


async def test_a_body_counts_as_it_is_decoded_and_while_it_waits_for_a_hold(
    narrow: str, pool: Pool
) -> None:
    holder = await create_holder(pool, HOLD)
    _ = await placed(Book(pool), holder, "a", HOLD)
    small = gzip.compress(orjson.dumps(STREAM).ljust(MEBIBYTE))
    headers = {**holder.headers, "content-encoding": "gzip"}
    async with httpx2.AsyncClient(base_url=narrow, timeout=30) as http:
        waiting = [
            asyncio.create_task(http.post(CHAT_PATH, content=small, headers=headers))
            for _ in range(2)
        ]
        await until_waiting(pool, 2)
        assert (await http.post(CHAT_PATH, content=small, headers=headers)).status_code == 429
        for task in waiting:
            _ = task.cancel()
        await until_waiting(pool, 0)


async def test_a_body_that_trickles_in_too_slowly_is_refused(
    product: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "BODY_START_S", 0.2)
    holder = await create_holder(pool, RICH)
    head = head_of(holder, 1000)
    assert await status_for(product, head, a_trickle()) == b"HTTP/1.1 408"


async def test_a_body_that_keeps_to_the_rate_may_take_longer(
    product: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "BODY_START_S", 0.2)
    monkeypatch.setattr(wire, "BODY_BYTES_PER_S", 1)
    holder = await create_holder(pool, RICH)

    body = BODY.ljust(400)

    async def slowly() -> AsyncGenerator[bytes]:
        for start in range(0, len(body), 20):
            yield body[start : start + 20]
            await asyncio.sleep(0.02)
        while True:
            yield b""
            await asyncio.sleep(0.01)

    response = await status_for(product, head_of(holder, len(body)), slowly())
    assert response == b"HTTP/1.1 200"


def head_of(holder: Holder, length: int) -> str:
    return (
        f"POST {CHAT_PATH} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: Bearer {holder.secret}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )


async def test_an_account_has_so_many_requests_in_progress_and_another_user_is_served(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    busy, other = await create_holder(pool, 10_000), await create_holder(pool, 10_000)
    gates = gated(upstream, 2)
    async with client_of(dsn, upstream, parallel_max=2) as client:
        running = [client.begin(busy) for _ in range(2)]
        await upstream.received(2)
        async with connection_to(str(client.base_url)) as connection:
            connection.begin(busy, MEBIBYTE)
            refused = await connection.response()
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        assert refused.error["message"] == (
            "This account already has 2 requests in progress. Try again in 1 s."
        )
        assert refused.headers["retry-after"] == "1"
        assert (await client.ask(other)).status_code == 200
        for gate in gates:
            gate.open()
        assert {(await task).status_code for task in running} == {200}
        assert (await client.ask(busy)).status_code == 200


def test_the_largest_body_fits_into_an_empty_process_whatever_its_size() -> None:
    for size in (1, MEBIBYTE, 64 * MEBIBYTE, 2048 * MEBIBYTE):
        with Room(body_bytes_max=size).enter(1) as place:
            place.keep(size)


def test_nothing_is_occupied_by_requests_that_have_ended_in_any_way() -> None:
    room = Room(parallel_max=3, body_bytes_max=MEBIBYTE)
    most = MEBIBYTE + rooms.ACCOUNT_BYTES_MAX + UNCOUNTED_BYTES
    with ExitStack() as stack:
        one, two, *others = (stack.enter_context(room.enter(n)) for n in (1, 1, 2, 3, 4, 5))
        one.keep(MEBIBYTE)
        with pytest.raises(TooManyRequests):
            two.keep(most)
        for other in others[:3]:
            other.keep(64 * MEBIBYTE)
        with pytest.raises(ServiceUnavailable):
            others[3].keep(64 * MEBIBYTE)
        before = room.unpaid_bytes
        one.pay()
        assert room.unpaid_bytes == before - (MEBIBYTE - UNCOUNTED_BYTES)
        others[3].keep(64 * MEBIBYTE)
        assert len(room) == 5
    assert (room.unpaid_bytes, len(room)) == (0, 0)
