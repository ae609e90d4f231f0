"""Duplicate keys, in every spelling, against a parser that keeps all pairs."""

from __future__ import annotations

import json
from unittest import mock

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenbalance.errors import InvalidJson
from tokenbalance.openai import documents
from tokenbalance.openai.documents import MAXIMUM_VALUES, parse_document

SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t"}
CHARACTERS = st.sampled_from('ab::\\\\\\"""/\n\tu02é😀')
LITERALS = st.sampled_from(["null", "true", "0", "-1.5e3", "9" * 30, "[]", "{}", '""'])


def escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def spellings(character: str) -> list[str]:
    unicode = escaped(character)
    capital = "\\u" + unicode[2:].upper() if len(unicode) == 6 else unicode
    plain = SHORT.get(character, character)
    return [plain, plain, unicode, capital]


STRINGS = st.lists(CHARACTERS.flatmap(lambda c: st.sampled_from(spellings(c))), max_size=4).map(
    lambda spelled: f'"{"".join(spelled)}"'
)
BROKEN = st.sampled_from(
    ['"\\ud800"', '"\\ude00\\ud83d"', '"\\u00"', '"\\u003"', '"\\"', "\\", '"']
)


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: f"[{','.join(items)}]")


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(STRINGS, st.sampled_from([":", " : "]), values).map("".join)
    return st.lists(members, max_size=3).map(lambda pairs: f"{{{','.join(pairs)}}}")


VALUES = st.recursive(
    st.one_of(LITERALS, STRINGS, STRINGS),
    lambda values: st.one_of(arrays(values), objects(values)),
    max_leaves=8,
)
SOURCES = objects(VALUES)


def has_twice(source: str) -> bool:
    twice = False

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal twice
        twice = twice or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    json.loads(source, object_pairs_hook=look)
    return twice


def is_json(source: bytes) -> bool:
    try:
        orjson.loads(source)
    except orjson.JSONDecodeError:
        return False
    return True


def is_accepted(source: bytes) -> bool:
    try:
        parse_document(source)
    except InvalidJson:
        return False
    return True


@given(
    source=SOURCES,
    slice_bytes=st.integers(1, 16),
    # As if quotes were always, sometimes and never far from each other.
    sparse_bytes=st.sampled_from([0, 6, 10**6]),
)
@example(source='{"a":"\\"\\"","a":1}', slice_bytes=16, sparse_bytes=0)
@example(source='{"a":"\\\\","a":"\\\\\\""}', slice_bytes=7, sparse_bytes=0)
@example(source='{"\\u0022":[{"\\"":1,"\\\\":2}]}', slice_bytes=3, sparse_bytes=10**6)
@example(source='{"a":[0,{"a":1,"a":1}]}', slice_bytes=16, sparse_bytes=10**6)
@example(source='{"a":[-1.5,null,"a",[{"a":1,"a":1}]]}', slice_bytes=16, sparse_bytes=0)
def test_a_body_is_accepted_exactly_if_no_object_has_a_key_twice(
    source: str, slice_bytes: int, sparse_bytes: int
) -> None:
    with (
        mock.patch.object(documents, "PIECE_BYTES", slice_bytes),
        mock.patch.object(documents, "_SPARSE_BYTES", sparse_bytes),
    ):
        assert is_accepted(source.encode()) is not has_twice(source)


@given(source=SOURCES, broken=BROKEN, data=st.data())
def test_what_is_not_json_is_refused_wherever_it_stands(
    source: str, broken: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(source)))
    body = (source[:at] + broken + source[at:]).encode()
    assert not is_accepted(body) or (is_json(body) and not has_twice(body.decode()))


@given(
    strings=st.lists(STRINGS, min_size=1, max_size=8),
    slice_bytes=st.integers(1, 16),
    spare=st.integers(-2, 2),
)
def test_only_separators_outside_of_strings_count_as_values(
    strings: list[str], slice_bytes: int, spare: int
) -> None:
    commas = [text.replace(":", ",").replace("é", "[") for text in strings]
    # The array, the object, and a comma less than there are elements.
    body = f'{{"a":[{",".join(commas)}]}}'.encode()
    values = len(commas) + 1
    with (
        mock.patch.object(documents, "PIECE_BYTES", slice_bytes),
        mock.patch.object(documents, "_DENSEST", 0),
        mock.patch.object(documents, "MAXIMUM_VALUES", values + spare),
    ):
        assert is_accepted(body) is (spare >= 0)


@pytest.mark.parametrize("dense", ["[],", "{},", "0,", '"",'])
def test_a_body_too_short_for_too_many_values_needs_no_count(dense: str) -> None:
    body = ('{"a":[' + dense * (documents._DENSEST // len(dense) - 8) + "0]}").encode()
    assert len(body) <= documents._DENSEST
    assert sum(map(body.count, (b",", b"[", b"{"))) <= MAXIMUM_VALUES


def test_quotes_are_told_apart_across_the_slices_of_a_long_body() -> None:
    for shift in range(8):
        text = "x" * shift + '\\"\\\\\\u0022' * 60_000
        assert is_accepted(f'{{"a":"{text}"}}'.encode())
        assert not is_accepted(f'{{"a":"{text}","a":1}}'.encode())


@pytest.mark.parametrize("between", ["", "x" * 10_000, "\\n" * 200, '\\"' * 10_000])
def test_a_key_that_comes_twice_is_found_at_any_distance(between: str) -> None:
    for members in (f'"a":1,"b":"{between}","a":1', f'"a":"{between}","a":"{between}"'):
        assert not is_accepted(f"{{{members}}}".encode())
        assert is_accepted(f"{{{members.replace('a', 'c', 1)}}}".encode())
