"""A response is given on in the turn of the event loop in which it arrives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from tokenbalance.wire.upstream.faults import UpstreamBroke
from tokenbalance.wire.upstream.framing import ResponseReader
from tokenbalance.wire.upstream.incoming import UNREAD_BYTES_MAX, IncomingResponse

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"


@dataclass
class Carrier:
    """A connection that is closed, or read from again, when it is told so."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def abort(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass
class Taker:
    """Remembers what it is given; stops behind what ends with a full stop."""

    taken: list[bytes] = field(default_factory=list)

    def take(self, data: bytes) -> bool:
        self.taken.append(data)
        return not data.endswith(b".")


async def begun() -> IncomingResponse:
    response = IncomingResponse(Carrier(), ResponseReader())
    _ = response.hear(HEAD)
    return response


async def fed(response: IncomingResponse, taker: Taker) -> asyncio.Task[bool]:
    feeding = asyncio.create_task(response.feed(taker.take))
    await asyncio.sleep(0)
    return feeding


async def test_what_arrives_is_given_before_anything_else_runs() -> None:
    response, taker = await begun(), Taker()
    feeding = await fed(response, taker)
    _ = response.hear(b"one")
    _ = response.hear(b"two")
    assert taker.taken == [b"one", b"two"]
    await asyncio.sleep(0)
    assert not feeding.done()
    _ = feeding.cancel()


async def test_nothing_is_given_behind_a_stop_until_it_is_fed_again() -> None:
    response, taker = await begun(), Taker()
    feeding = await fed(response, taker)
    _ = response.hear(b"one.")
    _ = response.hear(b"two")
    assert taker.taken == [b"one."]
    assert await feeding
    feeding = await fed(response, taker)
    assert taker.taken == [b"one.", b"two"]
    _ = feeding.cancel()


async def test_a_long_read_waits_for_another_turn() -> None:
    response, taker = await begun(), Taker()
    feeding = await fed(response, taker)
    long = b"x" * (UNREAD_BYTES_MAX + 1)
    _ = response.hear(long)
    assert not taker.taken
    assert response.is_far_ahead
    await asyncio.sleep(0)
    assert taker.taken == [long]
    _ = feeding.cancel()


async def test_a_response_that_ends_is_given_whole_first() -> None:
    response, taker = await begun(), Taker()
    feeding = await fed(response, taker)
    assert response.hear(b"x" * 1_000_000)
    assert not await feeding
    assert sum(map(len, taker.taken)) == 1_000_000


async def test_what_arrived_before_a_fault_is_given_first() -> None:
    response, taker = await begun(), Taker()
    _ = response.hear(b"one")
    response.fail(ConnectionResetError(), was_silent=False)
    with pytest.raises(UpstreamBroke):
        await response.feed(taker.take)
    assert taker.taken == [b"one"]


async def test_what_fails_while_it_is_taken_fails_whoever_feeds() -> None:
    def fail(_: bytes) -> bool:
        raise LookupError

    response = await begun()
    feeding = asyncio.create_task(response.feed(fail))
    await asyncio.sleep(0)
    _ = response.hear(b"one")
    with pytest.raises(LookupError):
        await feeding


async def test_the_upstream_is_not_silent_while_what_it_sends_is_taken() -> None:
    response, taker = await begun(), Taker()
    feeding = await fed(response, taker)
    response.waits_since_s = began = 1.0
    _ = response.hear(b"one")
    assert response.waits_since_s > began
    _ = feeding.cancel()
