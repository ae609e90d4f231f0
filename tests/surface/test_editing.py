"""Members that are set in a JSON object's source: as said, and nothing else is touched."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenbalance.openai import editing
from tokenbalance.openai.documents import MAXIMUM_VALUES, parse_document
from tokenbalance.openai.editing import with_members
from tokenbalance.openai.json_text import MAXIMUM_DEPTH

if TYPE_CHECKING:
    from tokenbalance.model import Document

NAMES = ("max_tokens", "max_completion_tokens", "stream_options", "a")
OPTIONS = {"stream_options": {"include_usage": True}}


def edited(source: bytes, members: dict[str, Any]) -> bytes:
    return with_members(source, parse_document(source), members)


# Sources as clients may write them: any spacing, escapes, numbers, names in texts.

SPACE = st.sampled_from(["", " ", "\n", "\t \r\n"])


def spelled(text: str, escaped: list[bool]) -> str:
    """A text as a literal of JSON, some of its characters escaped."""
    plain = (json.dumps(character, ensure_ascii=False)[1:-1] for character in text)
    pairs = zip(text, plain, escaped, strict=True)
    return '"' + "".join(f"\\u{ord(c):04X}" if is_ else p for c, p, is_ in pairs) + '"'


@st.composite
def literals(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    text = draw(texts)
    booleans = st.lists(st.booleans(), min_size=len(text), max_size=len(text))
    return spelled(text, draw(booleans))


TEXTS = st.text(st.sampled_from('ab"\\/{}[]:,\n\u00e9\u4e2d'), max_size=8) | st.sampled_from(NAMES)
NUMBERS = st.sampled_from(["0", "-1.50", "1e30", "123456789012345678901234567890", "2E-3"])
SCALARS = literals(TEXTS) | NUMBERS | st.sampled_from(["true", "false", "null"])


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    names = draw(
        st.lists(st.sampled_from([*NAMES, 'q"max_tokens', 'q"', ""]), unique=True, max_size=5)
    )
    members = [
        f"{draw(SPACE)}{draw(literals(st.just(name)))}{draw(SPACE)}:{draw(SPACE)}"
        f"{draw(values)}{draw(SPACE)}"
        for name in names
    ]
    return "{" + (",".join(members) or draw(SPACE)) + "}"


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda each: f"[{' ,'.join(each)} ]")


VALUES = st.recursive(SCALARS, lambda inner: objects(inner) | arrays(inner), max_leaves=8)
SOURCES = st.tuples(SPACE, objects(VALUES), SPACE).map(lambda pieces: "".join(pieces).encode())
MEMBERS = st.dictionaries(
    st.sampled_from(NAMES), st.integers(1, 99) | st.just({"include_usage": True}), max_size=3
)


def exact(source: bytes) -> Any:
    """The document with every number as it is spelled."""
    return json.loads(source, parse_int=str, parse_float=str)


def merged(document: Any, members: Any) -> Any:
    """What is meant by setting members."""
    result = dict(document)
    for name, value in members.items():
        there = document.get(name)
        both = isinstance(there, dict) and isinstance(value, dict)
        result[name] = merged(there, value) if both else value
    return result


@settings(max_examples=60, deadline=None)
@given(SOURCES, MEMBERS)
def test_the_source_says_the_document_with_the_members_and_numbers_as_they_were(
    source: bytes, members: dict[str, Any]
) -> None:
    numbers = json.loads(json.dumps(members), parse_int=str)
    assert exact(edited(source, members)) == merged(exact(source), numbers)


@settings(max_examples=60, deadline=None)
@given(SOURCES, st.sampled_from(NAMES), st.integers(1, 99))
def test_all_else_stays_byte_for_byte(source: bytes, name: str, value: int) -> None:
    result = edited(source, {name: value})
    written = str(value).encode()
    if name not in parse_document(source):
        # In front of everything: the member, and what parts it from the next.
        start = len(source) - len(source.lstrip()[1:].lstrip())
        added = result[start : start + len(result) - len(source)]
        assert added in {b'"%b":%b' % (name.encode(), written) + end for end in (b"", b",")}
        assert result[:start] + result[start + len(added) :] == source
    else:
        # One value makes way for the other: what is before and after it is what was there.
        ends = [
            cut
            for cut in range(len(source) + 1)
            if result.startswith(source[:cut] + written)
            and source.endswith(result[cut + len(written) :])
        ]
        assert ends


@settings(max_examples=60, deadline=None)
@given(SOURCES, st.sampled_from(NAMES), st.integers(1, 99))
def test_a_plain_key_is_found_where_the_walk_from_member_to_member_finds_it(
    source: bytes, name: str, value: int
) -> None:
    result = edited(source, {name: value})
    with mock.patch.object(editing, "_after_plain_key", return_value=None):
        assert edited(source, {name: value}) == result


def test_nothing_to_set_leaves_the_very_same_bytes() -> None:
    source = b' {"a":1, "b":12345678901234567890123}'
    assert edited(source, {}) is source


@pytest.mark.parametrize(
    ("source", "members", "expected"),
    [
        (b'{"n":1}', {"max_tokens": 5}, b'{"max_tokens":5,"n":1}'),
        (b" { }", {"max_tokens": 5}, b' { "max_tokens":5}'),
        (b'{"a":"{\\"max_tokens\\":1", "max_tokens" : 9}', {"max_tokens": 5},
         b'{"a":"{\\"max_tokens\\":1", "max_tokens" : 5}'),
        (b'{"a":{"max_tokens":1},"max\\u005Ftokens":9 }', {"max_tokens": 5},
         b'{"a":{"max_tokens":1},"max\\u005Ftokens":5 }'),
        (b'{"a\\"max_tokens":1,"max_tokens":9,"b\\"max_tokens":1}', {"max_tokens": 5},
         b'{"a\\"max_tokens":1,"max_tokens":5,"b\\"max_tokens":1}'),
        (b'{"a":["max_tokens",{"max_tokens":1}],"max_tokens":9,"b":"max_tokens"}',
         {"max_tokens": 5},
         b'{"a":["max_tokens",{"max_tokens":1}],"max_tokens":5,"b":"max_tokens"}'),
        (b'{"max_tokens":9,"b":{"c":[{"max_tokens":1}],"d":0}, "e":"\\\\"}', {"max_tokens": 5},
         b'{"max_tokens":5,"b":{"c":[{"max_tokens":1}],"d":0}, "e":"\\\\"}'),
        (b'{"seed":123456789012345678901,"stream_options":{"x":1.0}}', OPTIONS,
         b'{"seed":123456789012345678901,"stream_options":{"include_usage":true,"x":1.0}}'),
        (b'{"stream_options":{ "include_usage" : false, "x":[1]}}', OPTIONS,
         b'{"stream_options":{ "include_usage" : true, "x":[1]}}'),
        (b'{"stream_options":{}}', OPTIONS, b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":null}', OPTIONS, b'{"stream_options":{"include_usage":true}}'),
        (b'{"max_tokens":8,"x":0,"max_completion_tokens":9}',
         {"max_completion_tokens": 2, "max_tokens": 1, "stream_options": {"include_usage": True}},
         b'{"stream_options":{"include_usage":true},"max_tokens":1,"x":0,"max_completion_tokens":2}'),
    ],
)  # fmt: skip
def test_a_member_is_replaced_where_it_stands_and_added_in_front(
    source: bytes, members: Document, expected: bytes
) -> None:
    assert edited(source, members) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"[" * (MAXIMUM_DEPTH - 1) + b"]" * (MAXIMUM_DEPTH - 1),
        b"[" + b"[{}]," * (MAXIMUM_VALUES // 16) + b"0]",
        b'"' + b'\\"{' * 1_000_000 + b'"',
        b'"' + b"A" * 8_000_000 + b'"',
    ],
    ids=["deep", "many", "escapes", "long"],
)
def test_a_member_is_found_in_one_pass_whatever_stands_before_it(value: bytes) -> None:
    source = b'{"a":' + value + b',"max_tokens":9}'
    document = parse_document(source)
    began = time.process_time()
    assert with_members(source, document, {"max_tokens": 5}).endswith(b'"max_tokens":5}')
    # A few tens of milliseconds of CPU; the limit leaves room for a busy machine and none for a
    # second pass over each level.
    assert time.process_time() - began < 1
