"""What a stream reports, in whatever form it comes and wherever it is cut."""

from __future__ import annotations

import re

import pytest

from tests.support.metered_streams import (
    CHAT,
    COUNTED,
    CREATED,
    DELTAS,
    DONE,
    HEAD,
    RESPONSE,
    USAGE,
    USAGE_CHUNK,
    chunk,
    empty,
    final,
    meter_of,
    meter_of_text,
    said,
)
from tokenbalance.model import Usage
from tokenbalance.openai.metering import stream as of_streams
from tokenbalance.openai.metering.stream import StreamMeter

# What a stream reports


def test_usage_is_read_from_the_chunk_without_choices() -> None:
    out, stream = meter_of_text(CHAT)
    assert out == CHAT
    assert said(stream) == (COUNTED, True, False, "Hello")


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_usage_is_read_from_the_final_response(kind: str) -> None:
    text = CREATED + DELTAS + final(f"response.{kind}")
    out, stream = meter_of_text(text)
    assert out == text
    assert said(stream) == (COUNTED, True, kind == "failed", "Hello")


def test_a_stream_without_usage_yields_its_text() -> None:
    text = chunk("Grüße") + chunk(' "\\ \n\t€ 😀') + DONE
    _, stream = meter_of_text(text)
    assert said(stream) == (None, True, False, 'Grüße "\\ \n\t€ 😀')


def test_text_of_every_kind_is_collected() -> None:
    deltas = (
        '{"refusal":"no"}',
        '{"tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":"}}]}',
        '{"tool_calls":[{"function":{"arguments":"1}"}}]}',
        '{"reasoning_content":"hmm"}',
    )
    text = "".join(f'data: {HEAD}[{{"delta":{delta}}}]}}\n\n' for delta in deltas)
    _, stream = meter_of_text(text + 'data: {"choices":[{"text" : "once"}]}\n\n')
    assert "".join(stream.relayed_texts()) == 'hmmnoonce{"a":1}'


def test_a_surrogate_pair_cut_between_chunks_is_one_character() -> None:
    halves = [r'"content":"\ud83d"', r'"content":"\ude00"']
    whole = "".join(f'data: {HEAD}[{{"delta":{{{half}}}}}]}}\n\n' for half in halves)
    assert "".join(meter_of_text(whole)[1].relayed_texts()) == "😀"
    assert "".join(meter_of_text(whole[: len(whole) // 2])[1].relayed_texts()) == "\ufffd"


def test_text_that_broke_off_is_collected_as_far_as_it_came() -> None:
    text = chunk("one") + f'data: {HEAD}[{{"delta":{{"content":"two \\u00e'
    assert "".join(meter_of_text(text)[1].relayed_texts()) == "onetwo "
    out, stream = meter_of([chunk("gr").encode(), b'data: {"content":"\xc3'])
    assert out.endswith(b"\xc3")
    assert "".join(stream.relayed_texts()) == "gr\ufffd"


def test_the_words_that_matter_mean_nothing_inside_text() -> None:
    words = f'{USAGE_CHUNK} {DONE} "usage":{USAGE}, {final()} error {{"error":{{}}}}'
    text = chunk(words) + chunk(words, ',"usage":null')
    out, stream = meter_of_text(text)
    assert out == text
    assert said(stream) == (None, False, False, words * 2)


@pytest.mark.parametrize(
    "text",
    [
        'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n',
        'event: error\ndata: {"type":"error","code":"x","message":"y"}\n\n',
        'event: error\ndata: {"message":"y"}\n\n',
        "event: error\ndata: not json\n\n",
        'data: {"type":"error","message":"y"}\nevent: error\n\n',
    ],
)
def test_an_error_inside_the_stream_ends_it(text: str) -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed((chunk("Hi") + text).encode()).decode() == chunk("Hi")
    assert (stream.ended, stream.failed) == (True, True)
    assert stream.take().decode() == text


def test_the_greatest_usage_counts_and_of_equals_the_last() -> None:
    small = USAGE.replace("24", "20")
    later = USAGE.replace('"prompt_tokens":13', '"prompt_tokens":12')
    _, stream = meter_of_text(empty(f',"usage":{USAGE}') + empty(f',"usage":{small}') + DONE)
    assert stream.usage == COUNTED
    _, stream = meter_of_text(empty(f',"usage":{USAGE}') + empty(f',"usage":{later}') + DONE)
    assert stream.usage == Usage({"input": 12, "output": 11}, total=24)


def test_an_invalid_usage_does_not_replace_a_valid_one() -> None:
    broken = USAGE.replace("24", "-24")
    _, stream = meter_of_text(empty(f',"usage":{USAGE}') + empty(f',"usage":{broken}') + DONE)
    assert stream.usage == COUNTED


def test_cumulative_usage_withholds_nothing_until_the_end() -> None:
    chunks = [
        chunk("x", f',"usage":{{"prompt_tokens":5,"completion_tokens":{n},"total_tokens":{5 + n}}}')
        for n in range(1, 4)
    ]
    stream = StreamMeter(hide_usage=False)
    for text in chunks:
        assert stream.feed(text.encode()).decode() == text
    assert stream.feed(DONE.encode()) == b""
    assert stream.usage == Usage({"input": 5, "output": 3}, total=8)


# The forms a stream may have


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("source", [CHAT, RESPONSE], ids=["chat", "responses"])
def test_every_line_end_is_understood(line_end: str, source: str) -> None:
    text = source.replace("\n", line_end)
    out, stream = meter_of_text(text)
    assert out == text
    assert said(stream) == (COUNTED, True, False, "Hello")


FORMS = {
    "a BOM at the start": "\ufeff" + CHAT,
    "a BOM before the only event": "\ufeff" + USAGE_CHUNK + DONE,
    "comments": ": hi\n\n" + CHAT.replace("data: [", ": keep-alive\n\n:\ndata: ["),
    "no space after data": CHAT.replace("data: ", "data:"),
    "an event name after the data": CHAT.replace("\n\n", "\nevent: chunk\n\n"),
    "multi-line data": CHAT.replace(',"', ',\ndata: "').replace("[]", "\ndata:[\ndata: ]"),
    "blank lines between": CHAT.replace("\n\n", "\n\n\n\n"),
    "no blank line at the end": CHAT[:-1],
    "no line end at the end": CHAT[:-2],
    "bytes after the end": CHAT + "data: more\n\nand more",
    "other fields": CHAT.replace("data: {", "id: 7\nretry: 10\nnonsense\ndata: {"),
    "whitespace in the JSON": CHAT.replace('":', '" : ').replace(',"', ' , "'),
    "NUL bytes": CHAT.replace("data: {", ": \0\ndata: {"),
    "invalid events among valid ones": 'data: {"usage":\n\ndata: \0[DONE\n\ndata\n\n' + CHAT,
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_of_a_stream_is_understood_wherever_it_is_cut(text: str) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        out, stream = meter_of([data[:cut], data[cut:]])
        assert out == data
        assert (stream.usage, stream.ended, stream.failed) == (COUNTED, True, False)
    out, stream = meter_of([data[i : i + 1] for i in range(len(data))])
    assert out == data
    assert (stream.usage, stream.ended, stream.failed) == (COUNTED, True, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\ufeff",
        "data",
        'data: {"usage"',
        'data: ["usage"]\n\n',
        'data: {"choices":[],"usage":{"prompt_tokens":1,"total_tokens":2}\n\n',
        'data: {"choices":[],"usage":{"prompt_tokens":-1,"total_tokens":2}}\n\n',
        'data: {"choices":[],"usage":{"prompt_tokens":1e30,"total_tokens":1e30}}\n\n',
        'data: "usage"\n\ndata: [DONE',
        "data: " + "[" * 3000 + '"usage"\n\n',
        '{"usage":{"prompt_tokens":1,"total_tokens":2}}',
    ],
)
def test_what_is_no_usage_passes_and_is_none(text: str) -> None:
    out, stream = meter_of_text(text)
    assert out == text
    assert said(stream) == (None, False, False, "")


def test_the_dismissal_of_an_event_never_dismisses_an_end() -> None:
    # The one rule that could let an end slip out uncharged, tried on every beginning of one.
    kinds = ("response.completed", "response.incomplete", "response.failed")
    ends = [USAGE_CHUNK, DONE, *(final(kind) for kind in kinds)]
    for text in ends:
        for variant in (text, re.sub(r'([:,])"', r'\1 "', text), "id: 1\n" + text, text[6:]):
            for cut in range(len(variant)):
                assert of_streams._NOT_THE_END.match(variant[:cut].encode()) is None
