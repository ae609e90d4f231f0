"""The client gone after every single byte of a short response: the hold ends once and rightly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
import pytest

from tests.support.books import create_holder
from tests.support.byte_sweeps import (
    BALANCE,
    DOCUMENT_SAMPLE,
    END_OF_CHUNKS,
    PlacesUpstream,
    Sample,
    Turn,
    at_once,
    end,
    endings,
    every_sample,
    fault_of_charge,
    holders_for,
)
from tests.support.product import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


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
