"""The meter, fed with hand-made answers, cut anywhere."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenbalance.model import Usage
from tokenbalance.openai.metering import meter
from tokenbalance.openai.metering.meter import JsonMeter, StreamMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m","choices":'
USAGE = '{"prompt_tokens":13,"completion_tokens":11,"total_tokens":24}'
COUNTED = Usage(input=13, output=11, total=24)
DONE = "data: [DONE]\n\n"


def chunk(text: str, more: str = "") -> str:
    delta = f'{{"index":0,"delta":{{"content":{orjson.dumps(text).decode()}}}}}'
    return f"data: {HEAD}[{delta}]{more}}}\n\n"


def empty(more: str) -> str:
    return f"data: {HEAD}[]{more}}}\n\n"


def event(kind: str, members: str) -> str:
    return f'event: {kind}\ndata: {{"type":"{kind}",{members}}}\n\n'


def final(kind: str = "response.completed", usage: str = USAGE) -> str:
    usage = usage.replace("prompt", "input").replace("completion_t", "output_t")
    repeated = '"output":[{"content":[{"text":"Hello"}]}]'
    return event(kind, f'"response":{{"id":"r",{repeated},"usage":{usage},"user":null}}')


USAGE_CHUNK = empty(f',"usage":{USAGE}')
MODERATION = empty(',"moderation":{"input":{"usage":null}},"usage":null')
FILTER = empty(',"prompt_filter_results":[{"prompt_index":0}]')
FINISH = f'data: {HEAD}[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}\n\n'
BLANK = f'data: {HEAD}[{{"index":0,"delta":{{}}}}],"usage":{USAGE}}}\n\n'
NULLS = '"finish_reason":null,"logprobs":null,"index":0,"delta":{"role":null,"content":null}'
BLANK_BY_NULLS = f'data: {HEAD}[{{{NULLS}}}],"usage":{USAGE}}}\n\n'
"""As LiteLLM sends the usage that it was asked for."""
CHAT = chunk("Hel") + chunk("lo") + USAGE_CHUNK + DONE
CREATED = event("response.created", '"response":{"id":"r","error":null,"usage":null}')
DELTAS = "".join(event("response.output_text.delta", f'"delta":"{t}"') for t in ("Hel", "lo"))
RESPONSE = CREATED + DELTAS + event("response.output_text.done", '"text":"Hello"') + final()


def meter_of(pieces: Iterable[bytes], *, hide_usage: bool = False) -> tuple[bytes, StreamMeter]:
    stream = StreamMeter(hide_usage=hide_usage)
    out = b"".join([stream.feed(piece) for piece in pieces])
    return out + stream.finish(), stream


def meter_of_text(text: str, *, hide_usage: bool = False) -> tuple[str, StreamMeter]:
    out, stream = meter_of([text.encode()], hide_usage=hide_usage)
    return out.decode(), stream


def said(stream: StreamMeter) -> tuple[Usage | None, bool, bool, str]:
    return stream.usage, stream.ended, stream.failed, stream.relayed_text()


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


def test_a_stream_without_usage_tells_its_text() -> None:
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
    assert stream.relayed_text() == 'hmmnoonce{"a":1}'


def test_a_surrogate_pair_cut_between_chunks_is_one_character() -> None:
    halves = [r'"content":"\ud83d"', r'"content":"\ude00"']
    whole = "".join(f'data: {HEAD}[{{"delta":{{{half}}}}}]}}\n\n' for half in halves)
    assert meter_of_text(whole)[1].relayed_text() == "😀"
    assert meter_of_text(whole[: len(whole) // 2])[1].relayed_text() == "\ufffd"


def test_text_that_broke_off_is_told_as_far_as_it_came() -> None:
    text = chunk("one") + f'data: {HEAD}[{{"delta":{{"content":"two \\u00e'
    assert meter_of_text(text)[1].relayed_text() == "onetwo "
    out, stream = meter_of([chunk("gr").encode(), b'data: {"content":"\xc3'])
    assert out.endswith(b"\xc3")
    assert stream.relayed_text() == "gr\ufffd"


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
    assert stream.usage == Usage(input=12, output=11, total=24)


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
    assert stream.usage == Usage(input=5, output=3, total=8)


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


# What is kept back, and until when


def test_content_passes_at_once_even_when_an_event_is_cut() -> None:
    stream = StreamMeter(hide_usage=False)
    text = chunk("Hello")
    for cut in range(len(f"data: {HEAD}[{{"), len(text)):
        assert stream.feed(text[:cut].encode()).decode() == text[:cut]
        assert stream.feed(text[cut:].encode()).decode() == text[cut:]


def test_a_cut_delta_of_responses_passes_once_its_type_is_known() -> None:
    stream = StreamMeter(hide_usage=False)
    text = event("response.output_text.delta", '"delta":"Hello"')
    known = text.index(',"delta"')
    for cut in range(1, len(text)):
        first = text[:cut] if cut >= known else ""
        assert stream.feed(text[:cut].encode()).decode() == first
        assert stream.feed(text[cut:].encode()).decode() == text[len(first) :]


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (chunk("Hi"), USAGE_CHUNK + DONE),
        (chunk("Hi"), USAGE_CHUNK + MODERATION + DONE),
        (FILTER + chunk("Hi"), DONE),
        (chunk("Hi") + ": a comment that is longer than the end of the stream\n", DONE),
        (CREATED + DELTAS, final()),
        (CREATED + DELTAS, final("response.failed", "null") + DONE),
        (chunk("Hi"), 'data: {"error":{"message":"x"}}\n\n' + DONE),
    ],
)
def test_the_end_is_withheld_until_it_is_taken(before: str, kept: str) -> None:
    data = (before + kept).encode()
    for cut in range(len(data)):
        stream = StreamMeter(hide_usage=False)
        out = stream.feed(data[:cut]) + stream.feed(data[cut:])
        assert out.decode() == before
        assert stream.withholding
        assert stream.ended
        assert stream.take().decode() == kept
        assert stream.feed(b"data: after") == b"data: after"
        assert stream.finish() == b""


@pytest.mark.parametrize("usage_chunk", [BLANK, BLANK_BY_NULLS])
def test_usage_beside_a_choice_that_says_nothing_is_withheld_at_its_end(usage_chunk: str) -> None:
    data = (FINISH + usage_chunk + DONE).encode()
    for cut in range(len(data)):
        stream = StreamMeter(hide_usage=False)
        out = stream.feed(data[:cut]) + stream.feed(data[cut:])
        assert len(FINISH) <= len(out) < len(FINISH + usage_chunk)
        assert (stream.usage, stream.withholding, stream.ended) == (COUNTED, True, True)
        assert out + stream.take() == data


def test_usage_alone_is_not_the_end_of_the_stream() -> None:
    stream = StreamMeter(hide_usage=False)
    stream.feed(USAGE_CHUNK.encode())
    assert (stream.usage, stream.withholding, stream.ended) == (COUNTED, True, False)
    stream.feed(DONE[:-1].encode())
    assert not stream.ended
    stream.feed(b"\n")
    assert stream.ended


def test_content_after_a_usage_chunk_shows_that_it_was_not_the_last() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(USAGE_CHUNK.encode()) == b""
    assert stream.feed(chunk("more").encode()).decode() == USAGE_CHUNK + chunk("more")
    assert stream.feed(DONE.encode()) == b""


def test_content_after_the_end_stays_withheld() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed((DONE + chunk("more")).encode()) == b""
    assert stream.take().decode() == DONE + chunk("more")


def test_an_incomplete_event_goes_with_what_is_taken() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(DONE.encode() + b"data: x") == b""
    assert stream.take() == DONE.encode() + b"data: x"
    assert stream.feed(b"yz") == b"yz"


def test_comments_pass_as_soon_as_they_are_complete() -> None:
    stream = StreamMeter(hide_usage=True)
    assert stream.feed(b": keep") == b""
    assert stream.feed(b"-alive\n") == b": keep-alive\n"
    assert stream.feed(b"\n") == b"\n"


# What is released without a charge, and what is abandoned

ERROR = 'data: {"error":{"message":"overloaded"}}\n\n'


def test_after_a_released_error_usage_is_still_read_and_withheld() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(ERROR.encode()) == b""
    assert stream.release().decode() == ERROR
    assert not stream.withholding
    assert stream.feed(chunk("Hi").encode()).decode() == chunk("Hi")
    assert stream.feed(USAGE_CHUNK.encode()) == b""
    assert said(stream) == (COUNTED, True, True, "Hi")
    assert stream.take().decode() == USAGE_CHUNK


@pytest.mark.parametrize("hide_usage", [False, True])
def test_what_is_released_is_not_released_again(*, hide_usage: bool) -> None:
    stream = StreamMeter(hide_usage=hide_usage)
    stream.feed(ERROR.encode())
    assert stream.release().decode() == ERROR
    assert stream.release() == b""
    assert stream.feed(DONE.encode()) == b""
    assert stream.finish().decode() == DONE
    assert said(stream) == (None, True, True, "")


def abandoned(text: str, *, hide_usage: bool = False) -> tuple[str, str, StreamMeter]:
    """What passed of a stream that broke off there, what was made of its end, and the meter."""
    stream = StreamMeter(hide_usage=hide_usage)
    passed = stream.feed(text.encode())
    return passed.decode(), stream.abandon().decode(), stream


@pytest.mark.parametrize("fragment", ["data", 'data: {"id"', f"data: {HEAD}[]", USAGE_CHUNK[:-4]])
def test_of_an_abandoned_stream_a_fragment_not_yet_sent_is_dropped(fragment: str) -> None:
    passed, rest, stream = abandoned(chunk("Hi") + fragment)
    assert (passed, rest) == (chunk("Hi"), "")
    assert not stream.ended


def test_of_an_abandoned_stream_a_fragment_sent_in_part_is_ended_and_counted() -> None:
    text = chunk("Hello")
    fragment = text[: text.index("lo")]
    passed, rest, stream = abandoned(fragment)
    assert (passed, rest) == (fragment, "\n\n")
    assert said(stream) == (None, False, False, "Hel")


def test_of_an_abandoned_stream_usage_that_was_withheld_is_kept() -> None:
    passed, rest, stream = abandoned(chunk("Hi") + USAGE_CHUNK + "data: [DO")
    assert (passed, rest) == (chunk("Hi"), USAGE_CHUNK)
    assert said(stream) == (COUNTED, False, False, "Hi")


@pytest.mark.parametrize(
    "fragment",
    [
        'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","usa',
        'event: error\ndata: {"mess',
    ],
)
def test_an_abandoned_end_that_lacks_data_is_none(fragment: str) -> None:
    passed, rest, stream = abandoned(chunk("Hi") + fragment)
    assert (passed + rest).rstrip("\n") == chunk("Hi").rstrip("\n")
    assert not stream.ended


@pytest.mark.parametrize("end", [DONE, final(), final("response.failed"), ERROR])
@pytest.mark.parametrize("missing", [1, 2])
def test_an_abandoned_end_that_lacks_only_its_blank_line_gets_one(end: str, missing: int) -> None:
    passed, rest, stream = abandoned(end[:-missing])
    assert passed == ""
    assert rest.rstrip("\n") == end.rstrip("\n")
    assert rest.endswith("\n\n")
    assert stream.ended


@pytest.mark.parametrize("hide_usage", [False, True])
def test_wherever_a_stream_is_abandoned_what_is_sent_after_it_stands_alone(
    *, hide_usage: bool
) -> None:
    for cut in range(len(CHAT) + 1):
        passed, rest, stream = abandoned(CHAT[:cut], hide_usage=hide_usage)
        sent = passed + rest
        assert sent == "" or sent.endswith("\n\n")
        assert stream.ended == (cut >= len(CHAT) - 2)
        if hide_usage:
            assert CHAT.replace(USAGE_CHUNK, "").startswith(sent.rstrip("\n"))


# What is hidden


@pytest.mark.parametrize(
    ("member", "left"),
    [
        ('{"a":1,"usage":null}', '{"a":1}'),
        ('{"a":1,"usage":null,"obfuscation":"x"}', '{"a":1,"obfuscation":"x"}'),
        ('{"usage":null,"a":1}', '{"a":1}'),
        ('{"usage":null}', "{}"),
        ('{ "a": 1, "usage" : null , "b": 2 }', '{ "a": 1 , "b": 2 }'),
        ('{ "usage": null, "b": 2 }', '{ "b": 2 }'),
        ('{"a":{"usage":null},"usage":null}', '{"a":{"usage":null}}'),
        ('{"usage":null,"a":{"usage":null}}', '{"a":{"usage":null}}'),
        ('{"a":"x\\"usage\\":null","usage":null}', '{"a":"x\\"usage\\":null"}'),
        ('{"usage":null,"a":",\\"usage\\":null}"}', '{"a":",\\"usage\\":null}"}'),
        ('{"usage":null,"x\\"usage":null}', '{"x\\"usage":null}'),
        ('{"a":{"usage":null}}', '{"a":{"usage":null}}'),
        ('{"a":[{"usage":null}]}', '{"a":[{"usage":null}]}'),
        ('[{"usage":null}]', '[{"usage":null}]'),
        ('{"a":1,"usage":null', '{"a":1,"usage":null'),
        ('{"a":01,"usage":null}', '{"a":01,"usage":null}'),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_null_usage_member_is_cut_out_of_the_top_level(
    member: str, left: str, line_end: str
) -> None:
    text = f"data: {member}{line_end * 2}"
    expected = f"data: {left}{line_end * 2}"
    for cut in range(len(text)):
        out, _ = meter_of([text[:cut].encode(), text[cut:].encode()], hide_usage=True)
        assert out.decode() == expected


def test_the_null_usage_member_is_cut_out_of_several_lines() -> None:
    text = 'data: {"a":1,\ndata: "usage"\ndata::null}\nid: 1\n\n'
    out, _ = meter_of_text(text, hide_usage=True)
    assert out == 'data: {"a":1\ndata: \ndata:}\nid: 1\n\n'
    text = 'data: {"a":1\ndata: ,"usage":null}\n\n'
    assert meter_of_text(text, hide_usage=True)[0] == 'data: {"a":1\ndata: }\n\n'


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("text", "left"),
    [
        (chunk("Hi", ',"usage":null') + USAGE_CHUNK + DONE, chunk("Hi") + DONE),
        (
            chunk("Hi") + USAGE_CHUNK + MODERATION + DONE,
            chunk("Hi") + MODERATION.replace(',"usage":null}\n', "}\n") + DONE,
        ),
        (FILTER + USAGE_CHUNK + DONE, FILTER + DONE),
        (USAGE_CHUNK + FILTER + DONE, FILTER + DONE),
        (USAGE_CHUNK + chunk("more") + USAGE_CHUNK + DONE, chunk("more") + DONE),
        (chunk("Hi") + FINISH + BLANK + DONE, chunk("Hi") + FINISH + DONE),
        (chunk("Hi") + FINISH + BLANK_BY_NULLS + DONE, chunk("Hi") + FINISH + DONE),
        (BLANK + chunk("more") + BLANK, chunk("more")),
        (": ping\n\n" + USAGE_CHUNK + ": ping\n" + DONE, ": ping\n\n: ping\n" + DONE),
        (chunk("Hi") + ": ping\n" + USAGE_CHUNK, chunk("Hi") + ": ping\n"),
        (chunk("Hi") + "\n" + USAGE_CHUNK, chunk("Hi") + "\n"),
        (USAGE_CHUNK[:-1], ""),
        (USAGE_CHUNK[:-2], ""),
        ("\ufeff" + chunk("Hi") + USAGE_CHUNK, "\ufeff" + chunk("Hi")),
    ],
)
def test_hidden_usage_is_read_and_leaves_nothing_else_changed(
    text: str, left: str, line_end: str
) -> None:
    text, left = text.replace("\n", line_end), left.replace("\n", line_end)
    data = text.encode()
    for pieces in (
        *([data[:cut], data[cut:]] for cut in range(len(data) + 1)),
        [data[i : i + 1] for i in range(len(data))],
    ):
        out, stream = meter_of(pieces, hide_usage=True)
        assert out.decode() == left
        assert stream.usage == COUNTED


@pytest.mark.parametrize(
    "text",
    [
        chunk("Hi", f',"usage":{USAGE}') + DONE,
        chunk("Hi", f',"usage":{USAGE},"d":0'),
        FINISH.replace("}]}", f'}}],"usage":{USAGE}}}'),
        FINISH.replace("}]}", f'}}],"usage":{USAGE}}}').replace('"delta":{}', '"text":""'),
        BLANK.replace('"delta":{}', '"delta":{"role":"assistant","content":""}'),
        BLANK.replace('"delta":{}', '"text":""'),
        BLANK.replace('"index":0', '"index":0,"token_ids":[1]'),
        f'data: {{"response":"Hi","usage":{USAGE}}}\n\n',
        f'data: {{"usage":{USAGE}}}\n\n',
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_usage_that_came_unasked_stays(text: str, line_end: str) -> None:
    data = text.replace("\n", line_end).encode()
    for cut in range(len(data) + 1):
        out, stream = meter_of([data[:cut], data[cut:]], hide_usage=True)
        assert out == data
        assert stream.usage == COUNTED


@pytest.mark.parametrize("usage", ["[1,{}]", '"u\\","', "-1.5e3", "true", "{}"])
def test_what_is_no_usage_at_all_stays(usage: str) -> None:
    text = f'data: {{"a":1,"usage":{usage},"d":0}}\n\n'
    assert meter_of_text(text, hide_usage=True)[0] == text


def test_usage_stays_hidden_after_it_was_settled() -> None:
    stream = StreamMeter(hide_usage=True)
    assert stream.feed(USAGE_CHUNK.encode()) == b""
    assert stream.take() == b""
    text = chunk("Hi", ',"usage":null')
    assert stream.feed(text[:-9].encode()) == b""
    assert stream.feed((text[-9:] + DONE).encode()).decode() == chunk("Hi") + DONE


def test_a_client_that_asked_sees_its_usage() -> None:
    text = chunk("Hi", ',"usage":null') + USAGE_CHUNK + DONE
    assert meter_of_text(text)[0] == text


# Limits


def test_an_endless_line_passes_and_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "EVENT_MAX", 1000)
    monkeypatch.setattr(meter, "TAIL", 100)
    stream = StreamMeter(hide_usage=True)
    fed, out = b"data: ", stream.feed(b"data: ")
    for _ in range(1000):
        fed += b"x" * 100
        out += stream.feed(b"x" * 100)
        assert len(fed) - len(out) <= 1000
        assert len(stream._buffer) <= 1000
    assert out == fed
    rest = "\n\n" + chunk("Hi", ',"usage":null') + USAGE_CHUNK + DONE
    for byte in rest.encode():
        out += stream.feed(bytes([byte]))
    out += stream.finish()
    assert out == fed + f"\n\n{chunk('Hi')}{DONE}".encode()
    assert said(stream) == (COUNTED, True, False, "Hi")


@pytest.mark.parametrize("size", [1, 7, 50, 99, 1000, 10_000])
def test_a_final_response_that_is_too_long_is_read_at_its_end_and_withheld(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(meter, "EVENT_MAX", 500)
    monkeypatch.setattr(meter, "DOCUMENT_MAX", 1000)
    monkeypatch.setattr(meter, "TAIL", 300)
    data = final().replace('"id":"r"', f'"instructions":"{"i" * 3000}"').encode()
    stream = StreamMeter(hide_usage=False)
    out = b"".join([stream.feed(data[i : i + size]) for i in range(0, len(data), size)])
    assert min(300, len(data)) <= len(data) - len(out) <= 300 + size
    assert b"usage" not in out
    assert (stream.usage, stream.ended, stream.withholding) == (COUNTED, True, True)
    assert out + stream.take() == data


def test_a_long_final_response_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "EVENT_MAX", 500)
    data = final("response.failed").replace('"id":"r"', f'"i":"{"i" * 3000}"').encode()
    stream = StreamMeter(hide_usage=False)
    assert b"".join([stream.feed(data[i : i + 50]) for i in range(0, len(data), 50)]) == b""
    assert (stream.usage, stream.ended, stream.failed) == (COUNTED, True, True)
    assert stream.finish() == data


def test_a_server_that_never_ends_after_its_usage_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meter, "DOCUMENT_MAX", 1000)
    stream = StreamMeter(hide_usage=False)
    fed, out = USAGE_CHUNK.encode(), stream.feed(USAGE_CHUNK.encode())
    for _ in range(1000):
        fed += b": ping\n\n"
        out += stream.feed(b": ping\n\n")
        assert len(fed) - len(out) <= 1000 + len(b": ping\n\n")
    assert out + stream.finish() == fed


def test_collected_text_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenbalance.openai.metering.output_text.TEXT_MAX", 10_000)
    stream = StreamMeter(hide_usage=False)
    for _ in range(1000):
        stream.feed(chunk("x" * 100).encode())
    assert 10_000 <= len(stream.relayed_text()) < 20_000


# Any stream, cut anywhere

EVENTS = st.sampled_from([
    chunk("Hi"),
    chunk('[DONE] "usage" error 😀', ',"usage":null'),
    chunk("x", f',"usage":{USAGE}'),
    chunk("x", ',"usage":null,"obfuscation":"ab"'),
    USAGE_CHUNK,
    USAGE_CHUNK.replace("13", "9").replace("24", "20"),
    MODERATION,
    FILTER,
    DONE,
    CREATED,
    DELTAS,
    final(),
    final("response.failed", "null"),
    'data: {"error":{"message":"x"}}\n\n',
    'data: {"a":1,\ndata:"usage":null}\nevent: x\n\n',
    ": ping\n",
    ":\n\n",
    "\n",
    "\ufeff",
    "data: \0\n\n",
    'data: {"usage":',
    "data: x\nid: 1",
    "event: error\n",
])  # fmt: skip


def with_line_ends(text: str, line_end: str) -> str:
    return text.replace("\n", line_end)


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
PARTS = st.builds(with_line_ends, EVENTS, LINE_ENDS)
STREAMS = st.lists(PARTS, max_size=8).map("".join)


@settings(deadline=None, max_examples=150)
@given(
    text=STREAMS,
    places=st.lists(st.integers(0, 1000), max_size=12),
    hide_usage=st.booleans(),
)
def test_any_stream_means_the_same_wherever_it_is_cut(
    *, text: str, places: list[int], hide_usage: bool
) -> None:
    data = text.encode()
    cuts = sorted({0, len(data), *(place for place in places if place < len(data))})
    pieces = [data[a:b] for a, b in pairwise(cuts)]
    whole, first = meter_of([data], hide_usage=hide_usage)
    parts, second = meter_of(pieces, hide_usage=hide_usage)
    bytewise, third = meter_of([data[i : i + 1] for i in range(len(data))], hide_usage=hide_usage)
    assert parts == whole == bytewise
    assert said(second) == said(first) == said(third)
    if not hide_usage:
        assert whole == data


@settings(deadline=None, max_examples=100)
@given(pieces=st.lists(st.binary(max_size=40), max_size=6), hide_usage=st.booleans())
def test_any_bytes_pass(*, pieces: list[bytes], hide_usage: bool) -> None:
    out, stream = meter_of(pieces, hide_usage=hide_usage)
    assert out == b"".join(pieces)
    assert stream.usage is None


# One document


def read_document(data: bytes, size: int = 7) -> JsonMeter:
    document = JsonMeter()
    for start in range(0, len(data), size):
        document.feed(data[start : start + size])
    document.finish()
    return document


def test_a_chat_answer_tells_usage_and_text() -> None:
    response = {
        "object": "chat.completion",
        "choices": [
            {
                "message": {
                    "content": "Hello",
                    "refusal": None,
                    "annotations": [{"text": "not output"}],
                    "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}],
                },
                "logprobs": {"content": [{"token": "Hello"}]},
            },
            {"message": {"content": None, "refusal": " no"}},
        ],
        "usage": orjson.loads(USAGE),
        "system_fingerprint": "fp",
    }
    document = read_document(orjson.dumps(response))
    assert document.usage == COUNTED
    assert document.relayed_text() == 'Hello{"a":1} no'


def test_a_response_tells_usage_and_text_but_not_what_it_repeats() -> None:
    response = {
        "instructions": "not output",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hmm. "}]},
            {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
        ],
        "text": {"format": {"type": "text"}},
        "tools": [{"parameters": {"properties": {"usage": {"prompt_tokens": 1}}}}],
        "usage": {"input_tokens": 13, "output_tokens": 11, "total_tokens": 24},
        "user": None,
    }
    document = read_document(orjson.dumps(response, option=orjson.OPT_INDENT_2))
    assert document.usage == COUNTED
    assert document.relayed_text() == "Hmm. Hi{}"


def test_a_completion_tells_its_text() -> None:
    document = read_document(b'{"choices":[{"text":"a"},{"text":"b"}]}')
    assert document.usage is None
    assert document.relayed_text() == "ab"


def test_usage_far_from_the_end_of_a_document_is_found() -> None:
    response = f'{{"usage":{USAGE},"choices":[{{"text":"{"x" * 2 * meter.TAIL}"}}]}}'
    assert read_document(response.encode(), 10_000).usage == COUNTED


@pytest.mark.parametrize("body", ["", "[]", "null", "{", "\0", '{"usage":null}', '{"usage":"x"}'])
def test_a_document_without_usage_has_none(body: str) -> None:
    document = read_document(body.encode())
    assert document.usage is None
    assert document.relayed_text() == ""


def test_a_document_that_broke_off_tells_the_text_that_came() -> None:
    document = read_document(b'{"choices":[{"message":{"content":"Hello wor')
    assert document.usage is None
    assert document.relayed_text() == "Hello wor"


@pytest.mark.parametrize("size", [1000, 70_000, 3_000_000])
def test_of_a_long_document_the_end_is_kept_and_read(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(meter, "DOCUMENT_MAX", 100_000)
    numbers = ",".join(["0.125"] * 400_000)
    usage = '{"prompt_tokens":22,"total_tokens":22}'
    body = f'{{"data":[{{"text":"a"}},{{"embedding":[{numbers}]}}],"usage":{usage}}}\n'
    document = read_document(body.encode(), size)
    assert document.usage == Usage(input=22, total=22)
    assert len(document._body) <= 2 * meter.TAIL
    assert document.relayed_text() == "a"


def test_the_dismissal_of_an_event_never_dismisses_an_end() -> None:
    # The one rule that could let an end slip out uncharged, tried on every beginning of one.
    kinds = ("response.completed", "response.incomplete", "response.failed")
    ends = [USAGE_CHUNK, DONE, *(final(kind) for kind in kinds)]
    for text in ends:
        for variant in (text, re.sub(r'([:,])"', r'\1 "', text), "id: 1\n" + text, text[6:]):
            for cut in range(len(variant)):
                assert meter._NOT_THE_END.match(variant[:cut].encode()) is None
