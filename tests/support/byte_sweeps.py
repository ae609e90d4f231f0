"""A short response that is cut after each of its bytes, and how its requests end.

Each place is one request of one holder; all of them run against one product and one database, many
at a time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.support.books import charges_of, create_holder, hold_states
from tests.support.chat import CHAT
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


AT_ONCE = 32


BALANCE = 1000


INPUT = 9
"""Tokens of the chat's input."""


USED = 12
"""What the upstream reports."""


WORDS = 3
"""Tokens of the whole answer's text."""


RETRYABLE = {408, 409, 429}


USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}'


DONE = b"data: [DONE]\n\n"


END_OF_CHUNKS = b"\r\n0\r\n\r\n"


ACCEPTED = b"HTTP/1.1 2"
"""From here on the upstream has promised a success."""


def framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def spoken(text: bytes) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text


REPORT = b'data: {"choices":[],%b}\n\n' % USAGE


DOCUMENT = b'{"choices":[{"index":0,"message":{"content":"one two three"}}],%b}' % USAGE


@dataclass(frozen=True)
class Sample:
    """An answer as it is on the wire, in the pieces that the upstream writes."""

    request: dict[str, Any]
    head: bytes
    pieces: list[bytes]

    @property
    def wire(self) -> bytes:
        return self.head + b"".join(self.pieces)

    @property
    def usage_ends(self) -> int:
        """After that many bytes the usage has been seen."""
        return self.wire.index(USAGE) + len(USAGE) + 1

    @property
    def said_ends(self) -> int:
        """After that many bytes everything has been said, but for blank lines and framing."""
        if self is DOCUMENT_SAMPLE:
            return len(self.wire)
        return self.wire.index(DONE) + len(DONE.rstrip())


def stream_sample(*, asks_for_usage: bool) -> Sample:
    return Sample(
        {**CHAT, "stream": True, "stream_options": {"include_usage": asks_for_usage}},
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        [
            framed(spoken(b"one two")),
            framed(spoken(b" three")),
            framed(REPORT) + framed(DONE) + b"0\r\n\r\n",
        ],
    )


DOCUMENT_SAMPLE = Sample(
    CHAT,
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    % len(DOCUMENT),
    [DOCUMENT],
)


STREAMS = {
    "stream": stream_sample(asks_for_usage=True),
    "stream with its usage hidden": stream_sample(asks_for_usage=False),
}


SAMPLES = {**STREAMS, "document": DOCUMENT_SAMPLE}


every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


# --- an upstream that does something else for each request --------------------------------------


@dataclass
class Turn:
    """One request's answer, written piece by piece as the test allows."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    allowed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def allow(self, pieces: int) -> None:
        for _ in range(pieces):
            self.allowed.release()


class PlacesUpstream:
    """An upstream that reads from a header which of the test's places a request is for."""

    def __init__(self, response: Callable[[int, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._respond = response
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(number_after(head, b"content-length: "))
                await self._respond(number_after(head, b"x-client-request-id: "), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._serving.discard(task)


def number_after(head: bytes, name: bytes) -> int:
    return int(head.partition(b"\r\n" + name)[2].partition(b"\r\n")[0])


def end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close in an orderly way, or with a reset."""
    if reset:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


# --- all places at once -------------------------------------------------------------------------


async def at_once(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it, `AT_ONCE` at a time."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(coroutine: Coroutine[Any, Any, None]) -> None:
        async with free:
            await coroutine

    async with asyncio.TaskGroup() as group:
        for coroutine in work:
            group.create_task(one(coroutine))


async def holders_for(pool: Pool, places: int) -> list[Holder]:
    holders: list[Holder] = []

    async def create() -> None:
        holders.append(await create_holder(pool, BALANCE))

    await at_once(create() for _ in range(places))
    return holders


@dataclass(frozen=True)
class Ending:
    """What became of one holder's request."""

    states: list[str]
    totals: list[int]
    estimated: list[bool]
    outputs: list[int]


async def endings(pool: Pool, holders: list[Holder]) -> list[Ending]:
    """Wait until nothing is open, audit once, and look at everybody's books."""
    async with asyncio.timeout(60):
        while (report := await audit(pool)).open_holds:
            await asyncio.sleep(0.01)
    assert report.violations == []
    return [await ending_of(pool, holder) for holder in holders]


async def ending_of(pool: Pool, holder: Holder) -> Ending:
    charges = await charges_of(pool, holder)
    return Ending(
        await hold_states(pool, holder),
        [charge["total"] for charge in charges],
        [charge["estimated"] for charge in charges],
        [charge["output"] for charge in charges],
    )


def fault_of_charge(ending: Ending, *, usage_seen: bool) -> str:
    """What is wrong with the books of a request that was charged; empty: nothing."""
    if ending.states != ["settled"] or len(ending.totals) != 1:
        return "not charged once"
    (total,), (estimated,), (output,) = ending.totals, ending.estimated, ending.outputs
    if usage_seen:
        return "" if (total, estimated) == (USED, False) else "reported usage was not charged"
    if not estimated:
        return "charged with usage that nobody reported"
    counted = total == INPUT + output and output <= WORDS
    return "" if counted else "counted wrongly"
