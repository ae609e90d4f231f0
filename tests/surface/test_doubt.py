"""What of a report of usage cannot be all of it, and what is counted in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.recordings import Recording, how_many, recordings
from tokenbalance.errors import ProxyError
from tokenbalance.model import Usage
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import UsageCounter
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.doubt import has_several_choices, is_doubtful, reckoned
from tokenbalance.openai.metering.stream import StreamMeter

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

MESSAGES: Json = [{"role": "user", "content": "Hello there"}]
CHAT: Document = {"model": "gpt-4o-mini", "messages": MESSAGES}
"""9 tokens."""
COMPLETION: Document = {"model": "gpt-3.5-turbo-instruct", "prompt": ["one two", "three four five"]}
EMBEDDING: Document = {"model": "text-embedding-3-small", "input": ["one two", "three four five"]}
METERED = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
CEILING = Usage({"input": 1000, "output": 1000}, total=2000, estimated=True)


def counter(path: str, document: Document) -> UsageCounter:
    return UsageCounter(find_operation("POST", path.encode()), document)


def reported(inputs: int, outputs: int = 0) -> Usage:
    return Usage({"input": inputs, "output": outputs}, total=inputs + outputs)


def counted(inputs: int, outputs: int = 0) -> Usage:
    return replace(reported(inputs, outputs), estimated=True)


CHAT_OF_TWO: Document = {**CHAT, "n": 2}
ECHO: Document = {**COMPLETION, "echo": True}
TOKENS: Document = {**EMBEDDING, "input": [1, 2, 3]}
MANY_TEXTS: list[Json] = ["one two three four five"] * 2
MANY: Document = {**EMBEDDING, "input": MANY_TEXTS}
OF_CHAT, OF_TEXT, OF_VECTORS = "/chat/completions", "/completions", "/embeddings"

REPORTS: dict[str, tuple[str, Document, Usage, list[str], Usage]] = {
    "all of it": (OF_CHAT, CHAT, reported(9, 1), ["one two three"], reported(9, 1)),
    "more than is seen": (OF_CHAT, CHAT_OF_TWO, reported(9, 90), ["a", "b"], reported(9, 90)),
    "nothing for the input": (OF_CHAT, CHAT, reported(0, 70), ["one"], counted(9, 70)),
    "nothing for the output": (OF_CHAT, CHAT, reported(9), ["one two"], counted(9, 2)),
    "no output": (OF_CHAT, CHAT, reported(12), [""], reported(12)),
    "zeros that were believed": ("/responses", CHAT, reported(0), ["{}"], reported(0)),
    "one choice of two": (
        OF_CHAT,
        CHAT_OF_TWO,
        reported(9, 3),
        ["one two three", "four"],
        counted(9, 4),
    ),
    "two choices in a larger vocabulary": (
        *(OF_CHAT, CHAT_OF_TWO),
        *(reported(9, 7), ["one two three four", "a b c d"], reported(9, 7)),
    ),
    "one prompt of two": (
        *(OF_TEXT, COMPLETION),
        *(reported(3, 2), ["six seven", "eight nine"], counted(5, 4)),
    ),
    "an echo": (
        OF_TEXT,
        ECHO,
        reported(5, 2),
        ["one two six", "three four five six"],
        reported(5, 2),
    ),
    "one text of two": (OF_VECTORS, EMBEDDING, reported(3), [], counted(5)),
    "one long text of two": (OF_VECTORS, MANY, reported(5), [], counted(10)),
    "a list of tokens": (OF_VECTORS, TOKENS, reported(1), [], reported(1)),
}


@pytest.mark.parametrize(
    ("path", "document", "usage", "texts", "expected"), REPORTS.values(), ids=REPORTS
)
def test_what_a_report_leaves_out_is_counted(
    path: str, document: Document, usage: Usage, texts: list[str], expected: Usage
) -> None:
    assert reckoned(usage, texts, counter(path, document), CEILING) == expected


@pytest.mark.parametrize("odd", [True, 1.5, "2", [], {}, None, 1])
def test_what_is_no_number_of_choices_asks_for_one(odd: Json) -> None:
    assert not has_several_choices({**CHAT, "n": odd})


def test_nothing_is_counted_where_the_report_can_be_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count_it(_count: UsageCounter, *_texts: str) -> None:
        pytest.fail("counted")

    monkeypatch.setattr(UsageCounter, "__call__", count_it)
    for path, document in (
        ("/chat/completions", CHAT),
        ("/embeddings", {**EMBEDDING, "input": "a"}),
    ):
        count = counter(path, document)
        assert reckoned(reported(9, 1), ["one two"], count, CEILING) == reported(9, 1)
    # Of 46 bytes that is plainly all.
    assert reckoned(reported(10), [], counter(OF_VECTORS, MANY), CEILING) == reported(10)


@pytest.mark.parametrize("usage", [None, reported(0, 70), reported(9)])
def test_what_is_counted_is_never_more_than_the_upstream_was_reported(usage: Usage | None) -> None:
    ceiling = counted(8, 2)
    count = counter("/chat/completions", CHAT)
    usage = reckoned(usage, ["one two three"], count, ceiling)
    assert usage.estimated
    assert (usage.input, usage.output) in {(8, 2), (8, 70), (9, 2)}
    assert usage.total == usage.input + usage.output


def test_what_is_reported_may_be_more_than_the_upstream_was_reported() -> None:
    count = counter("/chat/completions", CHAT)
    assert reckoned(reported(9, 70), ["one"], count, counted(9, 2)) == reported(9, 70)


def responded(recording: Recording) -> JsonMeter | StreamMeter:
    document = orjson.loads(recording.request_body)
    several = has_several_choices(document)
    meter = StreamMeter(hide_usage=False, several=several) if recording.streamed else JsonMeter()
    meter.feed(recording.response_body)
    meter.finish()
    return meter


def test_no_recorded_report_is_changed() -> None:
    doubted = 0
    for recording in recordings(status=200):
        if recording.path not in METERED:
            continue
        meter = responded(recording)
        if meter.usage is None:
            continue
        document: dict[str, Any] = orjson.loads(recording.request_body)
        try:
            count = counter(recording.path.removeprefix("/v1"), document)
            usage = reckoned(meter.usage, meter.relayed_texts(), count, CEILING)
        except ProxyError:
            # Refused before it is sent.
            continue
        assert usage == meter.usage, recording
        doubted += is_doubtful(meter.usage, count.endpoint, document)
    assert doubted >= how_many(0, 7)


def test_a_second_bill_stays_beside_what_is_counted() -> None:
    bill = {"image_tool_input": 20, "image_tool_output": 300, "svg_output": 5, "call:web_search": 2}
    report = Usage({"output": 70, **bill}, total=70 + 325)
    usage = reckoned(report, ["one"], counter(OF_CHAT, CHAT), CEILING)
    expected = {"input": 9, "output": 70, **bill}
    assert usage == Usage(expected, total=9 + 70 + 325, estimated=True)
