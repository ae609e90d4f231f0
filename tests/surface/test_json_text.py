"""A JSON text is read in pieces as orjson reads it in one, wherever it is cut."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenbalance.errors import InvalidJson
from tokenbalance.openai import documents, editing, json_text
from tokenbalance.openai.documents import parse_document
from tokenbalance.openai.editing import with_members
from tokenbalance.openai.json_text import MAXIMUM_DEPTH, NotJsonError, after_value, compiled, loaded

if TYPE_CHECKING:
    from collections.abc import Generator

SCALAR_BYTES_MAX = 24
TEXTS = st.lists(
    st.sampled_from([*'ab":,[]{}\\ /\n\t', "\0", "\u00e9", "\u4e2d", "\U0001f600", "x" * 30]),
    max_size=12,
).map("".join)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**19)
    | st.floats(-9, 9)
    | TEXTS
    | st.just("plain")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=25,
)
LAYOUTS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"indent": 9},
        {"separators": (" ,\t", "\n:\r"), "ensure_ascii": False},
        {"separators": (",", ":" + " " * 70)},
    ]
)


@contextmanager
def cut_into(piece: int) -> Generator[None]:
    """Everything is looked at in pieces of so many bytes, and texts grow by a few characters."""
    with ExitStack() as stack:
        for module, name, value in (
            (json_text, "PIECE_BYTES", piece),
            (json_text, "_FIRST_BYTES", SCALAR_BYTES_MAX + piece // 2),
            (json_text, "_GROWTH_CHARACTERS", 5),
            (documents, "PIECE_BYTES", piece),
            (editing, "PIECE_BYTES", piece),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def read(source: bytes, load: Any) -> Any:
    """What it reads; None if it refuses."""
    try:
        return [load(source)]
    except (NotJsonError, orjson.JSONDecodeError):
        return None


NUMBERS = st.lists(
    st.integers(-99, 10**6)
    | st.floats(-9, 9)
    | st.sampled_from([7, 7, None, "1,]", [1], {"a": 2}]),
    max_size=40,
)


@given(
    lists=st.lists(NUMBERS, min_size=1, max_size=3),
    layout=LAYOUTS,
    piece=st.integers(SCALAR_BYTES_MAX, 70),
    at=st.integers(0, 200),
    broken=st.sampled_from(["", "", ",", "]", "[", "-", "}", '"', "x", " 1"]),
)
def test_lists_of_numbers_are_read_as_in_one_piece_and_refused_as_orjson_refuses_them(
    lists: Any, layout: dict[str, Any], piece: int, at: int, broken: str
) -> None:
    text = json.dumps(lists, **layout)
    source = (text[:at] + broken + text[at:]).encode()
    with cut_into(piece):
        assert read(source, loaded) == read(source, orjson.loads)


@given(value=VALUES, layout=LAYOUTS, piece=st.integers(SCALAR_BYTES_MAX, 70))
@example(value=["\\" * 30, '"' * 30, "\U0001f600" * 20], layout={}, piece=SCALAR_BYTES_MAX)
def test_a_text_is_read_as_in_one_piece(value: Any, layout: dict[str, Any], piece: int) -> None:
    source = b" \n" + json.dumps(value, **layout).encode() + b" " * 99
    with cut_into(piece):
        assert loaded(source) == orjson.loads(source)


@given(
    value=VALUES,
    layout=LAYOUTS,
    piece=st.integers(SCALAR_BYTES_MAX, 70),
    broken=st.sampled_from(
        ['"', "[", "]", "{", "}", ",", ":", "\\", "1", "x", " ", "\n", "\\ud83d", "\\u00", ""]
    ),
    data=st.data(),
)
@example(value=[1], layout={}, piece=SCALAR_BYTES_MAX, broken=",", data=None)
def test_what_orjson_refuses_is_refused_and_nothing_else(
    value: Any, layout: dict[str, Any], piece: int, broken: str, data: st.DataObject | None
) -> None:
    text = json.dumps(value, **layout)
    at = 2 if data is None else data.draw(st.integers(0, len(text)))
    skipped = 0 if data is None else data.draw(st.integers(0, 2))
    source = (text[:at] + broken + text[at + skipped :]).encode()
    with cut_into(piece):
        assert read(source, loaded) == read(source, orjson.loads)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"[",
        b"[" * 200 + b"]" * 200,
        b'["' + b"a" * 99,
        b'["' + b"\x80" * 99 + b'"]',
        b'["' + b"\xf0\x9f\x98\x80" * 20 + b'\xf0\x9f"]',
        b'["' + b"\\ud83d" * 20 + b'"]',
        b"[" + b"1" * 99 + b"]",
        b'{"a" 1}',
        b"{1:1}",
        b"[1,]",
        b"[1]" * 40,
        b'{"a":1,}',
    ],
)
def test_what_is_not_json_is_refused_wherever_it_is_cut(source: bytes) -> None:
    for piece in range(SCALAR_BYTES_MAX, 48, 3):
        with cut_into(piece):
            assert read(source, loaded) is None


@given(value=VALUES, layout=LAYOUTS, piece=st.integers(SCALAR_BYTES_MAX, 70))
def test_the_end_of_a_value_is_found(value: Any, layout: dict[str, Any], piece: int) -> None:
    source = json.dumps(value, **layout).encode()
    with cut_into(piece):
        assert after_value(source + b" ,", 0) == len(source)


@given(
    before=st.dictionaries(TEXTS, VALUES, max_size=3),
    after=st.dictionaries(TEXTS, VALUES, max_size=3),
    layout=LAYOUTS,
    piece=st.integers(SCALAR_BYTES_MAX, 70),
    there=st.none() | st.integers(0, 9),
)
def test_a_member_is_set_in_a_long_source(
    before: dict[str, Any],
    after: dict[str, Any],
    layout: dict[str, Any],
    piece: int,
    there: int | None,
) -> None:
    document = before | ({} if there is None else {"max_tokens": there}) | after
    source = json.dumps(document, **layout).encode()
    with cut_into(piece):
        edited = with_members(source, parse_document(source), {"max_tokens": 5})
    assert json.loads(edited) == document | {"max_tokens": 5}


def test_depth_counts_in_long_texts_as_in_short_ones() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b'"%b"' % (b"x" * 99) + b"]" * (levels - 1) + b"}"

    with cut_into(SCALAR_BYTES_MAX):
        assert parse_document(nested(MAXIMUM_DEPTH))
        with pytest.raises(InvalidJson, match="nested deeper than 64"):
            parse_document(nested(MAXIMUM_DEPTH + 1))


def test_a_text_that_is_not_ascii_has_a_limit_of_characters() -> None:
    def with_text(text: str) -> bytes:
        return orjson.dumps({"a": text})

    with cut_into(SCALAR_BYTES_MAX), mock.patch.object(json_text, "CHARACTERS_MAX", 100):
        assert parse_document(with_text("a" * 1000))
        assert parse_document(with_text("a" * 99 + "\u4e2d"))
        for text in ("a" * 100 + "\u00e9", "\u4e2d" + "a" * 100):
            with pytest.raises(InvalidJson, match="not all of which are ASCII"):
                parse_document(with_text(text))


def test_a_possessive_repeat_ends_before_what_it_repeats_in_part() -> None:
    """Python before 3.11.5 does not by itself."""
    found = compiled(rb"(?:a[^;]*+;)*+").match(b"a1;a2;a3")
    assert found is not None
    assert found.group() == b"a1;a2;"
