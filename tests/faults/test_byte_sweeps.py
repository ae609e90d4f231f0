"""The upstream cut, and the client gone, after every single byte of a short answer.

Each place is one request of one holder; all of them run against one product and one database,
many at a time. Whatever the place, the hold ends once and rightly, and the client is never told to
buy again what was bought.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx2
import orjson
import pytest

from tests.support.books import charges_of, create_holder, hold_states
from tests.support.chat import CHAT
from tests.support.product import serving
from tokenbalance.books.ledger.audit import audit
from tokenbalance.openai.metering.sse import data_lines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable

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


# --- the upstream is cut ------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """What a client got, of an upstream that was cut after so many bytes."""

    place: int
    status: int
    body: bytes
    retries: str | None


def fault_of_cut(sample: Sample, cut: Cut, ending: Ending) -> str:
    """What is wrong with how a cut ended; empty: nothing."""
    if cut.place < len(ACCEPTED):
        free = ending == Ending(["voided"], [], [], [])
        return "" if cut.status == 502 and free else "no answer, but not a free 502"
    if cut.status in RETRYABLE or cut.status >= 500:
        return "a retryable status after a 2xx"
    usage_seen = cut.place >= sample.usage_ends
    return fault_of_told(sample, cut) or fault_of_charge(ending, usage_seen=usage_seen)


def fault_of_told(sample: Sample, cut: Cut) -> str:
    whole = cut.place >= sample.said_ends
    if sample is DOCUMENT_SAMPLE or cut.place < len(sample.head):
        expected = (200, None) if whole else (424, "false")
        return "" if (cut.status, cut.retries) == expected else "not a 424"
    if cut.status != 200:
        return "not a 200"
    last = last_event(cut.body)
    if whole:
        return "" if last == b"[DONE]" else "a whole stream without its end"
    return "" if is_error(last) else "no error at the end"


def last_event(body: bytes) -> bytes:
    """The data of the last event that a parser of event streams would give."""
    if not body.endswith(b"\n\n"):
        return b""
    event = body.rstrip(b"\n").rpartition(b"\n\n")[2] + b"\n\n"
    return b"\n".join(event[start:stop] for start, stop in data_lines(event))


def is_error(data: bytes) -> bool:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return document.get("error", {}).get("code") == "upstream_incomplete"


async def cut_everywhere(
    dsn: str, holders: list[Holder], sample: Sample, *, reset: bool
) -> list[Cut]:
    """Ask once for each holder; the upstream is cut one byte later each time."""

    async def response(place: int, writer: asyncio.StreamWriter) -> None:
        writer.write(sample.wire[:place])
        await writer.drain()
        end(writer, reset=reset)

    async with (
        PlacesUpstream(response) as upstream,
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        cuts: dict[int, Cut] = {}

        async def ask(place: int) -> None:
            got = await http.post(
                "/v1/chat/completions",
                json=sample.request,
                headers={**holders[place].headers, "x-client-request-id": str(place)},
            )
            retries = got.headers.get("x-should-retry")
            cuts[place] = Cut(place, got.status_code, got.content, retries)

        await at_once(ask(place) for place in range(len(holders)))
    return [cuts[place] for place in range(len(holders))]


@every_sample
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_an_upstream_cut_after_any_byte_is_charged_once_and_told(
    dsn: str, pool: Pool, sample: Sample, reset: bool
) -> None:
    holders = await holders_for(pool, len(sample.wire) + 1)
    cuts = await cut_everywhere(dsn, holders, sample, reset=reset)
    books = await endings(pool, holders)
    faults = [
        (fault, cut, ending)
        for cut, ending in zip(cuts, books, strict=True)
        if (fault := fault_of_cut(sample, cut, ending))
    ]
    assert faults == []


def fault_of_events(sample: Sample, cut: Cut, whole: list[bytes]) -> str:
    """What is wrong with the events that a cut stream was passed on as; empty: nothing."""
    *told, last = cut.body.rstrip(b"\n").split(b"\n\n")
    if last == whole[-1]:
        return "" if told == whole[:-1] else "not every event"
    if not is_error(last_event(cut.body)):
        return "an end that cannot be read"
    arrived = sum(sample.wire.index(event) + len(event) + 2 <= cut.place for event in whole)
    if told[:arrived] != whole[:arrived]:
        return "an event that had arrived is missing"
    # Behind them only what had begun to pass of the next one, closed.
    begun = told[arrived:]
    return "" if len(begun) <= 1 and whole[arrived].startswith(tuple(begun) or b"") else "more"


@pytest.mark.parametrize("sample", STREAMS.values(), ids=STREAMS)
async def test_a_stream_cut_within_an_event_still_ends_with_an_event_that_can_be_read(
    dsn: str, pool: Pool, sample: Sample
) -> None:
    holders = await holders_for(pool, len(sample.wire) + 1)
    cuts = await cut_everywhere(dsn, holders, sample, reset=False)
    whole = cuts[-1].body.rstrip(b"\n").split(b"\n\n")
    faults = [
        (fault, cut)
        for cut in cuts[len(sample.head) :]
        if (fault := fault_of_events(sample, cut, whole))
    ]
    assert faults == []


# --- the client is gone -------------------------------------------------------------------------


class Caller:
    """Sends requests over sockets of its own, reads so many bytes, and leaves."""

    def __init__(self, url: str, sample: Sample) -> None:
        self._address = urlsplit(url)
        self._body = orjson.dumps(sample.request)

    @asynccontextmanager
    async def asking(
        self, holder: Holder, place: int, *, reset: bool
    ) -> AsyncGenerator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        try:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-client-request-id: %d\r\n"
                b"authorization: Bearer %b\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b"
                % (place, holder.secret.encode(), len(self._body), self._body)
            )
            async with asyncio.timeout(60):
                yield reader
        finally:
            end(writer, reset=reset)


async def lengths_of(
    caller: Caller, holder: Holder, turn: Turn, sample: Sample, place: int
) -> list[int]:
    """How many bytes a client has after each piece of the upstream's."""
    streams = sample is not DOCUMENT_SAMPLE
    marks = [b"one two", b"three", END_OF_CHUNKS] if streams else [b"}}"]
    received = b""
    lengths: list[int] = []
    async with caller.asking(holder, place, reset=False) as reader:
        for mark in marks:
            turn.allow(1)
            while mark not in received:
                piece = await reader.read(65536)
                assert piece, received
                received += piece
            lengths.append(len(received))
    return lengths


async def read_up_to(
    place: int, lengths: list[int], turn: Turn, reader: asyncio.StreamReader
) -> None:
    """Read so many bytes, letting the upstream write one piece after the other meanwhile."""
    received = b""
    for length in lengths[: pieces_for(place, lengths)]:
        turn.allow(1)
        # What was joined on the way has fewer bytes of framing, so that the end may come early.
        while len(received) < min(place, length) and not received.endswith(END_OF_CHUNKS):
            piece = await reader.read(min(place, length) - len(received))
            assert piece, received
            received += piece


def pieces_for(place: int, lengths: list[int]) -> int:
    """How many of the upstream's pieces are enough for a client to get so many bytes."""
    return sum(before < place for before in [0, *lengths[:-1]])


@dataclass
class Departures:
    """Clients that leave, each after another byte, and the upstream that answers them."""

    sample: Sample
    turns: dict[int, Turn] = field(default_factory=dict)

    def turn(self, place: int) -> Turn:
        return self.turns.setdefault(place, Turn())

    async def response(self, place: int, writer: asyncio.StreamWriter) -> None:
        turn = self.turn(place)
        turn.arrived.set()
        head, *others = self.sample.pieces
        for piece in [self.sample.head + head, *others]:
            await turn.allowed.acquire()
            writer.write(piece)
            await writer.drain()


@every_sample
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("on_disconnect", ["drain", "cancel"])
async def test_a_client_gone_after_any_byte_is_charged_once(
    dsn: str, pool: Pool, sample: Sample, reset: bool, on_disconnect: str
) -> None:
    departures = Departures(sample)
    async with (
        PlacesUpstream(departures.response) as upstream,
        serving(dsn, upstream.base_url, on_disconnect=on_disconnect) as url,
    ):
        caller = Caller(url, sample)
        first = await create_holder(pool, BALANCE)
        lengths = await lengths_of(caller, first, departures.turn(-1), sample, -1)
        places = range(lengths[-1] + 1)
        holders = await holders_for(pool, len(places))

        async def leave(place: int) -> None:
            turn = departures.turn(place)
            async with caller.asking(holders[place], place, reset=reset) as reader:
                await asyncio.wait_for(turn.arrived.wait(), 20)
                await read_up_to(place, lengths, turn, reader)
            if on_disconnect == "drain":
                turn.allow(len(sample.pieces))

        await at_once(leave(place) for place in places)
        books = await endings(pool, holders)
    faults = {
        place: (fault, books[place])
        for place in places
        if (
            fault := fault_of_charge(
                books[place], usage_seen=is_seen(place, lengths, on_disconnect)
            )
        )
    }
    assert faults == {}


def is_seen(place: int, lengths: list[int], on_disconnect: str) -> bool:
    """Whether the upstream came to report its usage to the product."""
    return on_disconnect == "drain" or pieces_for(place, lengths) == len(lengths)
