"""Images and audio whose usage never comes: charged by what is known, flagged, within the hold."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx2
import orjson
import pytest

from tests.proxy.test_media import PROMPT, SPOKEN, drawn, events, image_usage
from tests.support.books import charges_of, create_holder
from tests.support.chat import CHAT
from tests.support.recordings import recordings
from tests.support.upstream import Response, event_stream, json_response
from tokenbalance.books.holds.leases import Leases
from tokenbalance.books.holds.settler import Settler
from tokenbalance.books.holds.sweep import Sweep
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.pricing.equivalents import as_charged, known_before
from tokenbalance.books.pricing.rate_card import read_rate_card
from tokenbalance.books.pricing.rates import NANO, build_rates
from tokenbalance.model import OPENAI, Usage
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import UsageCounter, bound, count
from tokenbalance.proxy.asked import read
from tokenbalance.proxy.ending import Ending

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.recordings import Recording
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

GENERATIONS: Final = "/images/generations"
LOW: Final = 272
"""Tokens of an image of the prompt's size and quality."""


def most_of(path: str, body: dict[str, Any]) -> tuple[int, int]:
    """Tokens at most of the input, and of one output."""
    estimate = count(find_operation("POST", path.encode()), body)
    return estimate.input_tokens, estimate.output_cap


async def charged(
    http: httpx2.AsyncClient,
    pool: Pool,
    upstream: ScriptedUpstream,
    response: Response,
    path: str,
    body: dict[str, Any],
) -> tuple[int, bool]:
    """What a request is charged, and whether that is an estimate; never more than its hold."""
    holder: Holder = await create_holder(pool, 10**7)
    upstream.script(response)
    with suppress(httpx2.RemoteProtocolError):
        async with http.stream("POST", f"/v1{path}", json=body, headers=holder.headers) as sent:
            async for _ in sent.aiter_raw():
                pass
    await upstream.until(lambda: not upstream.open)
    (charge,) = await charges_of(pool, holder)
    assert charge["overrun"] == 0
    return -charge["amount"], charge["estimated"]


async def test_images_that_a_stream_has_begun_are_charged_as_drawn(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    body = {**PROMPT, "stream": True, "n": 3, "partial_images": 1}
    _, one = most_of(GENERATIONS, body)
    first, second = drawn("image_generation", image_usage(12, 372))
    whole = events(first, second, first)
    cut = replace(whole, cut_after=sum(map(len, whole.parts)))  # pyright: ignore[reportArgumentType] - bytes only
    assert await charged(http, pool, upstream, cut, GENERATIONS, body) == (384 + one, True)


async def test_images_of_a_body_that_breaks_off_are_charged_as_drawn(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    read, one = most_of(GENERATIONS, PROMPT)
    cut = replace(json_response({"data": [{"b64_json": "A" * 900}]}), cut_after=600)
    assert await charged(http, pool, upstream, cut, GENERATIONS, PROMPT) == (read + one, True)


async def test_speech_that_breaks_off_is_charged_by_its_text(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    cut = Response(headers=[("content-type", "audio/mpeg")], body=b"\xff" * 900, cut_after=400)
    assert await charged(http, pool, upstream, cut, "/audio/speech", SPOKEN) == (8, True)


async def test_an_image_of_a_tool_is_charged_although_its_usage_never_comes(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    tool = {"type": "image_generation", "model": "gpt-image-2", "quality": "low"}
    body: dict[str, Any] = {
        "model": "gpt-5.4-mini",
        "input": "A cat",
        "max_output_tokens": 100,
        "stream": True,
        "store": False,
        "tools": [tool],
    }
    estimate = count(find_operation("POST", b"/responses"), body)
    assert estimate.calls
    (use,) = estimate.calls.uses
    item = {"id": "ig_1", "type": "image_generation_call", "result": "AAAA"}
    begun = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    stream = event_stream(
        begun + b'"delta":"Here it is"}\n\n',
        *events({"type": "response.output_item.done", "item": item}).parts,
    )
    cut = replace(stream, cut_after=sum(map(len, stream.parts)))  # pyright: ignore[reportArgumentType] - bytes only
    amount, estimated = await charged(http, pool, upstream, cut, "/responses", body)
    without = replace(cut, body=stream.parts[:1], cut_after=len(stream.parts[0]))  # pyright: ignore[reportArgumentType] - bytes only
    less, _ = await charged(http, pool, upstream, without, "/responses", body)
    assert (amount - less, estimated) == (dict(use)["image_tool_output"], True)


@pytest.mark.parametrize("total", [10**15, 2**53])
async def test_a_total_far_beyond_its_parts_is_believed_up_to_the_ceiling(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream, total: int
) -> None:
    usage: Any = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": total}
    message: Any = {"role": "assistant", "content": "one two three"}
    response = json_response({"choices": [{"index": 0, "message": message}], "usage": usage})
    amount, estimated = await charged(http, pool, upstream, response, "/chat/completions", CHAT)
    assert estimated
    assert 12 < amount <= 50 + 50


def rates_of(**credit: int) -> Any:
    return build_rates({kind: number * NANO for kind, number in credit.items()})


HEARD: Final = Usage({"second_audio": 7, "input": 70, "audio_input": 70}, 70)
TOKENS: Final = Usage({"input": 50, "output": 5}, 55)


@pytest.mark.parametrize(
    ("usage", "rates", "left"),
    [
        (HEARD, None, {"second_audio": 7, "input": 70, "audio_input": 70}),
        (HEARD, rates_of(second_audio=3), {"second_audio": 7}),
        (HEARD, rates_of(input=1, output=2), {"second_audio": 7, "input": 70, "audio_input": 70}),
        (TOKENS, rates_of(input=1, output=2), {"input": 50, "output": 5}),
        (TOKENS, rates_of(second_audio=3), {"input": 50, "output": 5, "second_audio": 8}),
        (
            TOKENS,
            rates_of(second_audio=3, input=1, output=2),
            {"input": 50, "output": 5},
        ),
    ],
)
def test_seconds_are_charged_or_the_tokens_that_they_stand_for(
    usage: Usage, rates: Any, left: dict[str, int]
) -> None:
    charged_for = as_charged(usage, rates, (("second_audio", 8),))
    assert dict(charged_for.quantities) == left
    assert charged_for.total == left.get("input", 0) + left.get("output", 0)


def test_counts_and_fees_are_known_before_a_response_and_tokens_are_not() -> None:
    more = (("second_audio", 8), ("svg_output", 100))
    known = known_before(more, rates_of(second_audio=3, svg_output=1))
    assert known == Usage({"second_audio": 8}, estimated=True)
    assert known_before(more, rates_of(input=1, output=1)) is None
    assert known_before(more, None) is None


RECORDED: Final = recordings("/v1/images/", status=200)


@pytest.mark.skipif(not RECORDED, reason="the recordings of images are not at hand")
@pytest.mark.parametrize("recording", RECORDED, ids=str)
def test_what_a_recorded_image_costs_is_within_its_hold(recording: Recording) -> None:
    operation = find_operation("POST", recording.path.removeprefix("/v1").encode())
    body = orjson.loads(recording.request_body)
    most = bound(operation, body)
    used = UsageCounter(operation, body)()
    assert used.input <= most.input_tokens
    assert used.output <= most.choices * most.output_cap
    assert used.of("image") == dict(most.more)["image"] == 1


async def test_characters_are_charged_although_the_process_dies_meanwhile(
    pool: Pool, tmp_path: Path
) -> None:
    card = read_rate_card('version = 2\n[[models]]\nmatch = "tts-1"\ncharacter = 15\n')
    holder = await create_holder(pool, 10**6)
    body = orjson.dumps({**SPOKEN, "model": "tts-1"})
    asked = read(holder.caller, find_operation("POST", b"/audio/speech"), body, OPENAI, card)
    book, leases = Book(pool), Leases(tmp_path / "journal")
    await leases.open_journal(book)
    ending = Ending.begin(asked, "tb_1", leases, Settler(book, leases))
    assert await ending.place(book, asked.claim(asked.bound))
    ending.dispatch()
    leases.close_journal()

    others = Leases(tmp_path / "journal")
    await others.open_journal(book)
    await Sweep(pool, book, others, 15)._end_abandoned()
    others.close_journal()
    (charge,) = await charges_of(pool, holder)
    assert (-charge["amount"], charge["estimated"]) == (15 * len(SPOKEN["input"]), True)


@pytest.mark.parametrize("images", [1, 3])
async def test_images_are_charged_by_their_ceiling_although_the_process_dies_meanwhile(
    pool: Pool, tmp_path: Path, images: int
) -> None:
    holder = await create_holder(pool, 10**6)
    body = orjson.dumps({**PROMPT, "n": images})
    asked = read(holder.caller, find_operation("POST", GENERATIONS.encode()), body, OPENAI, None)
    book, leases = Book(pool), Leases(tmp_path / "journal")
    await leases.open_journal(book)
    ending = Ending.begin(asked, "tb_1", leases, Settler(book, leases))
    estimate = count(asked.operation, asked.document)
    assert await ending.place(book, asked.claim(estimate))
    ending.ceiling = Usage.counted(estimate.input_tokens, images * estimate.output_cap)
    ending.dispatch()
    leases.close_journal()

    others = Leases(tmp_path / "journal")
    await others.open_journal(book)
    await Sweep(pool, book, others, 15)._end_abandoned()
    others.close_journal()
    (charge,) = await charges_of(pool, holder)
    assert (-charge["amount"], charge["estimated"]) == (ending.ceiling.total, True)
    assert charge["overrun"] == 0
