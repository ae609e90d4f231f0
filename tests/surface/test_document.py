"""The strict parser and the typed readers, and every hostile body in the collection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tokenbalance.errors import (
    EmptyArray,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidJson,
    InvalidType,
    MissingParameter,
    UnknownParameter,
)
from tokenbalance.openai.documents import (
    MAXIMUM_VALUES,
    optional_boolean,
    optional_integer,
    parse_document,
    path_of,
    require_list,
    require_string,
)
from tokenbalance.openai.json_text import MAXIMUM_DEPTH

if TYPE_CHECKING:
    from tokenbalance.model import Json


def test_an_object_is_parsed_as_it_is() -> None:
    document = parse_document(b'{"model": "m", "n": 2, "x": [1.5, null, true, {"y": ":"}]}')
    assert document == {"model": "m", "n": 2, "x": [1.5, None, True, {"y": ":"}]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b'"x"',
        b"null",
        b"{",
        b"{'model': 'm'}",
        b'{"a": 1,}',
        b'{"a": 1} {}',
        b'{"a": 1/*c*/}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 0x10}',
        b'{"a": 1e400}',
        b'{"a": 01}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\n"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_not_one_strict_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_document(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"n": 1, "n": 128}',
        b'{"n": 1, "\\u006e": 128}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": [{"b": [], "c": 1, "b": []}]}',
        b'{"a": "x:y", "a": "x"}',
        b'{"a": "\\u003a", "a": 1}',
        b'{"a": 1, "a": "\\u003A"}',
        b'{"a": 1, "a": "\\u003A\\u003A"}',
        b'{"a:b": 1, "a\\u003ab": 2}',
    ],
)
def test_a_key_twice_in_any_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_document(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "::::", "b:": {"c": ":"}}',
        b'{"a": "\\u003a", "b": 1}',
        b'{"a": "\\\\u003a", "b": ":"}',
        b'{"a": {"b": 1}, "c": {"b": 1}}',
    ],
)
def test_colons_in_texts_are_no_keys(body: bytes) -> None:
    assert parse_document(body)


def test_integers_within_64_bit_are_exact_and_larger_ones_pass() -> None:
    assert parse_document(b'{"a": 18446744073709551615}') == {"a": 2**64 - 1}
    assert parse_document(b'{"a": -9223372036854775808}') == {"a": -(2**63)}
    for number in (b"18446744073709551616", b"-9223372036854775809", b"9" * 300, b"1e300"):
        assert parse_document(b'{"a": ' + number + b"}") == {"a": float(number)}


def test_a_key_twice_is_found_beside_a_huge_number() -> None:
    for number in (b"9" * 300, b"9" * 30 + b',"b":"\\u003a"'):
        with pytest.raises(InvalidJson, match="twice"):
            parse_document(b'{"n": 1, "n": 2, "a": ' + number + b"}")


def test_a_huge_number_where_one_is_computed_with_is_above_its_maximum() -> None:
    document = parse_document(b'{"n": ' + b"9" * 40 + b', "m": -' + b"9" * 40 + b"}")
    with pytest.raises(IntegerAboveMaximum):
        optional_integer(document, "n", minimum=1, maximum=128)
    with pytest.raises(IntegerBelowMinimum):
        optional_integer(document, "m", minimum=1, maximum=128)


def test_depth_is_limited_and_never_a_recursion_error() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert parse_document(nested(MAXIMUM_DEPTH))
    for body in (nested(MAXIMUM_DEPTH + 1), nested(1000), b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(InvalidJson):
            parse_document(body)
    for before in ("1", "1.5", "null", '"a"'):
        lists = f"[{before}," * MAXIMUM_DEPTH + "1" + "]" * MAXIMUM_DEPTH
        with pytest.raises(InvalidJson):
            parse_document(f'{{"a":{lists}}}'.encode())
    # What a duplicate key hides from the parsed document is as deep as it was.
    with pytest.raises(InvalidJson):
        parse_document(b'{"a":' + b"[" * 999 + b"]" * 999 + b',"a":"\\u003a"}')


def test_the_number_of_values_is_limited_and_commas_in_a_text_are_none() -> None:
    with pytest.raises(InvalidJson, match="values"):
        parse_document(b'{"a":[' + b"[]," * MAXIMUM_VALUES + b"1]}")
    assert parse_document(b'{"a":"' + b',[\\"' * MAXIMUM_VALUES + b'"}')


def test_the_error_never_echoes_the_body() -> None:
    for body in (b'{"model": sk-secret}', b'{"sk-secret": 1, "sk-secret": 2}'):
        with pytest.raises(InvalidJson) as caught:
            parse_document(body)
        assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "key", ["Model", "MODEL", "model\\u0000", "model\\u200b", " model", "Max_Tokens", "n\\uff0e"]
)
def test_a_key_that_another_parser_may_take_for_a_cost_field_is_refused(key: str) -> None:
    with pytest.raises(UnknownParameter) as caught:
        parse_document(f'{{"{key}": 1}}'.encode())
    assert caught.value.param in {"model", "max_tokens", "n"}


def test_unknown_keys_pass() -> None:
    assert parse_document(b'{"__proto__": {}, "my_model": 1, "\xc3\xa9": 2}')


def test_a_long_prompt_is_parsed_in_milliseconds() -> None:
    body = b'{"messages":[{"role":"user","content":"' + b"hello: world, " * 28_000 + b'"}]}'
    best = min(_seconds(body) for _ in range(5))
    # About one; the limit leaves room for a slow machine and none for a second, slow parse.
    assert best < 0.02


def _seconds(body: bytes) -> float:
    start = time.thread_time()
    parse_document(body)
    return time.thread_time() - start


def test_paths_are_dotted_and_indexed() -> None:
    assert path_of(path_of(path_of("", "messages"), 0), "content") == "messages[0].content"


def test_a_missing_field_names_itself() -> None:
    with pytest.raises(MissingParameter) as caught:
        require_string({}, "role", at="messages[2]")
    assert caught.value.param == "messages[2].role"
    assert caught.value.message == "Missing required parameter: 'messages[2].role'."


def test_null_of_a_required_field_has_the_wrong_type() -> None:
    with pytest.raises(InvalidType) as caught:
        require_string({"model": None}, "model")
    expected = "Invalid type for 'model': expected a string, but got null instead."
    assert caught.value.message == expected


def test_an_empty_list_is_no_list_of_messages() -> None:
    assert require_list({"messages": [1]}, "messages") == [1]
    with pytest.raises(EmptyArray):
        require_list({"messages": []}, "messages")
    with pytest.raises(InvalidType):
        require_list({"messages": "hi"}, "messages")


def test_null_of_an_optional_field_is_absence() -> None:
    assert optional_integer({"n": None}, "n", minimum=1, maximum=128) is None
    assert optional_boolean({"stream": None}, "stream") is None


def test_booleans_decimals_and_strings_are_no_integers() -> None:
    cases: list[tuple[Json, str]] = [
        (True, "a boolean"),
        (1.0, "a decimal"),
        ("1", "a string"),
        ([1], "an array"),
        ({}, "an object"),
    ]
    for value, name in cases:
        with pytest.raises(InvalidType, match=name):
            optional_integer({"n": value}, "n", minimum=1, maximum=128)


def test_integers_are_held_to_their_range() -> None:
    assert optional_integer({"n": 128}, "n", minimum=1, maximum=128) == 128
    with pytest.raises(IntegerAboveMaximum):
        optional_integer({"n": 129}, "n", minimum=1, maximum=128)
    with pytest.raises(IntegerBelowMinimum) as caught:
        optional_integer({"n": 0}, "n", minimum=1, maximum=128)
    assert caught.value.message == (
        "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead."
    )


def test_a_number_is_no_boolean() -> None:
    assert optional_boolean({"stream": False}, "stream") is False
    for value in (1, "false"):
        with pytest.raises(InvalidType):
            optional_boolean({"stream": value}, "stream")
