"""The query of a request: what of it goes upstream, and which ids it has."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenbalance.errors import InvalidValue, UrlTooLong
from tokenbalance.openai import find_operation
from tokenbalance.openai.query import NO_QUERY, PARAMETERS_MAX, QUERY_BYTES_MAX, query_of

ITEMS = find_operation("GET", b"/conversations/conv_1/items")
FILES = find_operation("GET", b"/files")
STORE_FILES = find_operation("GET", b"/vector_stores/vs_1/files")
CHAT = find_operation("POST", b"/chat/completions")


@pytest.mark.parametrize(
    ("raw", "upstream"),
    [
        (b"limit=2&order=asc", "limit=2&order=asc"),
        (b"include[]=a&include%5B%5D=b&include=c", "include%5B%5D=a&include%5B%5D=b&include=c"),
        (b"after=msg_1%26before%3Dx", "after=msg_1%26before%3Dx"),
        (b"limit=2;after=msg_1", "limit=2%3Bafter%3Dmsg_1"),
        (b"after=a+b", "after=a%20b"),
        (b"after=%2541", "after=%2541"),
        (b"limit", "limit="),
        (b"api-version=2024&beta=true&LIMIT=3&%6cimit=4&limit%00=5&lim%ZZit=6", "limit=4"),
        (b"include[=a&include]=b&include[]x=c", ""),
        (b"&&=&==", ""),
    ],
)
def test_what_goes_upstream_is_spelled_in_one_way(raw: bytes, upstream: str) -> None:
    assert query_of(ITEMS, raw).encoded == upstream


@pytest.mark.parametrize(
    "raw",
    [
        b"limit=%",
        b"limit=%4",
        b"limit=%zz",
        b"after=%ff",
        b"after=%00",
        b"order=%0a",
        b"after=\x00",
    ],
)
def test_a_value_that_is_no_text_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(InvalidValue) as refused:
        _ = query_of(ITEMS, raw)
    assert refused.value.param == raw.partition(b"=")[0].decode()


def test_its_length_and_its_number_of_parameters_are_bounded() -> None:
    assert len(query_of(ITEMS, b"include=a&" * PARAMETERS_MAX).parameters) == PARAMETERS_MAX
    with pytest.raises(InvalidValue, match="more than 100 parameters"):
        _ = query_of(ITEMS, b"include=a&" * (PARAMETERS_MAX + 1))
    with pytest.raises(UrlTooLong):
        _ = query_of(ITEMS, b"include=" + b"a" * QUERY_BYTES_MAX)


def test_an_operation_without_parameters_has_no_query() -> None:
    assert query_of(CHAT, b"limit=%zz" * QUERY_BYTES_MAX) is NO_QUERY


def test_cursors_of_lists_that_the_upstream_answers_are_references() -> None:
    raw = b"after=msg_1&after[]=msg_2&%61fter%5Bx%5D=msg_3&limit=msg_4&after="
    assert [(one.kind, one.value, one.param) for one in query_of(ITEMS, raw).references] == [
        ("item", "msg_1", "after"),
        ("item", "msg_2", "after"),
        ("item", "msg_3", "after"),
    ]
    references = query_of(STORE_FILES, b"before=file-1&after=file-2").references
    assert [one.value for one in references] == ["file-1", "file-2"]
    # The table of objects answers this one, and looks for its own cursor.
    assert query_of(FILES, b"after=file-1").references == ()
    assert query_of(FILES, b"after=file-1&purpose=x").values("after") == ("file-1",)


@given(st.lists(st.tuples(st.sampled_from(["after", "include[]", "limit"]), st.text(max_size=20))))
@example([("after", "a&b=c;d%41+ ?#é")])
def test_the_upstream_reads_what_was_read_here(parameters: list[tuple[str, str]]) -> None:
    parameters = [(name, value) for name, value in parameters if value.isprintable()]
    sent = "&".join(f"{name}={_escaped(value)}" for name, value in parameters)
    query = query_of(ITEMS, sent.encode())
    assert list(query.parameters) == parameters
    assert parse_qsl(query.encoded, keep_blank_values=True) == parameters


def _escaped(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "surrogatepass"))
