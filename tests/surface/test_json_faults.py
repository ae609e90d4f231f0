"""What an error says of a body that is not strict JSON: the field, and what is wrong with it."""

from __future__ import annotations

import orjson
import pytest

from tokenbalance.errors import IntegerAboveMaximum, IntegerBelowMinimum, InvalidJson
from tokenbalance.openai.documents import optional_integer, parse_document
from tokenbalance.openai.json_faults import BYTES_MAX

SURROGATE = "has half of a surrogate pair"
HUGE = "is a number that is too large to be represented"
DEEP = "is nested deeper than 64 levels"
FAULTS = {
    "half of a pair": (rb'{"messages":[{"content":"a\ud83d"}]}', "messages[0].content", SURROGATE),
    "the other half": (rb'{"model":"m","user":"\ude00"}', "user", SURROGATE),
    "beyond a double": (b'{"temperature":1e999}', "temperature", HUGE),
    "below a double": (b'{"metadata":{"n":[0,-1e999]}}', "metadata.n[1]", HUGE),
    "400 digits": (b'{"max_tokens":' + b"1" * 400 + b"}", "max_tokens", HUGE),
    "no number": (b'{"top_p":NaN}', "top_p", "is not a number"),
    "arrays": (b'{"a":[],"input":' + b"[" * 64 + b"]" * 64 + b"}", "input", DEEP),
    "very many arrays": (b'{"input":' + b"[" * 5000 + b"]" * 5000 + b"}", "input", DEEP),
    "objects": (b'{"metadata":' + b'{"a":' * 64 + b"1" + b"}" * 65, "metadata", DEEP),
    "brackets in a text": (rb'{"a":"[\"' + b"[" * 99 + b'","b":1e999}', "b", HUGE),
}


def said_of(body: bytes) -> InvalidJson:
    with pytest.raises(InvalidJson) as refused:
        _ = parse_document(body)
    return refused.value


@pytest.mark.parametrize(("body", "field", "wrong"), FAULTS.values(), ids=FAULTS)
def test_it_names_the_field_and_what_is_wrong_there(body: bytes, field: str, wrong: str) -> None:
    error = said_of(body)
    assert error.param == field
    assert f"'{field}' {wrong}" in str(error)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b'{"model": "m",\n "user" "x"}', "it is not valid JSON at line 2, column 9."),
        (b'{"user": "\xff"}', "it is not valid UTF-8 at byte 10."),
        (b'{"a secret": 1e999}', "it has a value that is a number that is too large"),
        (rb'{"\ud83d": 1}', "it has a value that has a key with half of a surrogate pair."),
        (b'{"a secret":' + b"[" * 64 + b"]" * 64 + b"}", "it is nested deeper than 64 levels."),
    ],
)
def test_it_says_what_it_can_where_no_field_can_be_named(body: bytes, wrong: str) -> None:
    error = said_of(body)
    assert error.param is None
    assert wrong in str(error)


def test_a_long_body_is_not_searched() -> None:
    """That would take longer than what is known to be wrong with it is worth."""
    error = said_of(orjson.dumps({"user": "x" * BYTES_MAX})[:-1] + b',"top_p":1e999}')
    assert (error.param, str(error)[-31:]) == (None, " it is not valid JSON in UTF-8.")


@pytest.mark.parametrize(
    ("number", "wrong"), [("1" * 30, IntegerAboveMaximum), ("-" + "1" * 30, IntegerBelowMinimum)]
)
def test_a_number_of_30_digits_is_out_of_range_and_not_quoted_with_other_digits(
    number: str, wrong: type[Exception]
) -> None:
    document = parse_document(f'{{"n":{number}}}'.encode())
    with pytest.raises(wrong, match=r"Invalid 'n': .* Expected a value .= \d{1,3}\.$"):
        _ = optional_integer(document, "n", minimum=1, maximum=128)
