"""The upstream cut after every single byte of a short response.

Whatever the place, the hold ends once and rightly, and the client is never told to buy again what
was bought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import orjson
import pytest

from tests.support.byte_sweeps import (
    ACCEPTED,
    DOCUMENT_SAMPLE,
    RETRYABLE,
    STREAMS,
    Ending,
    PlacesUpstream,
    Sample,
    at_once,
    end,
    endings,
    every_sample,
    fault_of_charge,
    holders_for,
)
from tests.support.product import serving
from tokenbalance.openai.metering.sse import data_lines

if TYPE_CHECKING:
    import asyncio

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


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
