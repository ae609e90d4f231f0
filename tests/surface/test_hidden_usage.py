"""Usage that the client did not ask for is read, and cut out of the stream."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.metered_streams import (
    BLANK,
    BLANK_BY_NULLS,
    COUNTED,
    DONE,
    FILTER,
    FINISH,
    MODERATION,
    USAGE,
    USAGE_CHUNK,
    chunk,
    meter_of,
    meter_of_text,
)
from tokenbalance.openai.metering import stream_report
from tokenbalance.openai.metering.stream import StreamMeter


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


EVENT = b'data: {"choices":[{}],"usage":null}\n\n'
PIECES = st.sampled_from([
    EVENT, EVENT, b"data: {", b'],"usage":null', b'"a","usage":null', b',"obfuscation":"x"',
    b'"', b"}", b"}\n\n", b"\n", b"\r", b"]",
])  # fmt: skip


@given(st.lists(PIECES, max_size=8).map(b"".join))
@example(EVENT * 3)
@example(EVENT + b'data: {],"usage":null}\n\n')
@example(EVENT + b'data: {"a":1}\n\n' + EVENT)
@example(EVENT + b'data: {"a":1,\ndata: "b":[],"usage":null}\n\n')
@example(EVENT + b': c\n\ndata: {"a":"b","usage":null}\n\n' + EVENT)
def test_what_is_cut_without_a_pattern_is_what_the_pattern_cuts(events: bytes) -> None:
    lines = stream_report._LINES_OF_DATA.fullmatch(events)
    expected = stream_report._LAST_NULL_USAGE.sub(b"", events)
    is_left = lines is None or b"\r" in events
    assert stream_report._without_null_usage(events) == (events if is_left else expected)


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
