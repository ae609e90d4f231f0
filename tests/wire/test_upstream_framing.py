"""HTTP/1.1 responses cut in every way, and what is not a response."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbalance.wire.upstream.framing import (
    HEAD_BYTES_MAX,
    HEAD_FIELDS_MAX,
    OVERHEAD_BYTES_MAX,
    BadResponse,
    ResponseReader,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@dataclass
class Seen:
    """What a reader made of some bytes."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    is_reusable: bool = False
    is_bad: bool = False
    promises_success: bool = False


def read(*pieces: bytes, wants_body: bool = True, closed: bool = False) -> Seen:
    """Feed the pieces, take after each, and look."""
    reader = ResponseReader(wants_body=wants_body)
    seen = Seen()
    try:
        for piece in pieces:
            reader.feed(piece)
            seen.body += reader.take()
        if closed:
            reader.feed_end()
    except BadResponse:
        seen.is_bad = True
    seen.body += reader.take()
    seen.status, seen.headers = reader.status, reader.headers
    seen.ended, seen.is_reusable = reader.ended, reader.is_reusable
    seen.promises_success = reader.promises_success
    return seen


@dataclass(frozen=True)
class Case:
    """A response on the wire, and what it is."""

    wire: bytes
    status: int
    body: bytes
    is_reusable: bool = True
    until_close: bool = False


CASES = {
    "of a length": Case(OK + b"Content-Length: 5\r\nX-A:  b \t\r\n\r\nhello", 200, b"hello"),
    "of no length": Case(OK + b"content-length: 0\r\n\r\n", 200, b""),
    "chunked": Case(
        CHUNKED + b"5;ext=1\r\nhello\r\n1 \r\n!\r\n0\r\nx-trailer: t\r\n\r\n", 200, b"hello!"
    ),
    "no content": Case(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": Case(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b""),
    "closing": Case(
        OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi", is_reusable=False
    ),
    "of HTTP/1.0": Case(
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi", is_reusable=False
    ),
    "of HTTP/1.0, kept alive": Case(
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"
    ),
    "until the connection closes": Case(
        OK + b"x-a: b\r\n\r\nhello", 200, b"hello", is_reusable=False, until_close=True
    ),
    "behind interim responses": Case(
        b"HTTP/1.1 100 Continue\r\nx-early: 1\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"
        b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno",
        404,
        b"no",
    ),
    "without CR": Case(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", 200, b"hi"),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def whole(case: Case, *pieces: bytes) -> Seen:
    return read(*pieces, closed=case.until_close)


@every_case
def test_a_response_is_read_whole(case: Case) -> None:
    seen = whole(case, case.wire)
    assert (seen.status, seen.body, seen.ended) == (case.status, case.body, True)
    assert (seen.is_reusable, seen.is_bad) == (case.is_reusable, False)
    assert seen.promises_success == (case.status < 300)


@every_case
def test_a_response_cut_in_two_anywhere_is_the_same_response(case: Case) -> None:
    expected = whole(case, case.wire)
    for place in range(1, len(case.wire)):
        assert whole(case, case.wire[:place], case.wire[place:]) == expected, place


@every_case
@pytest.mark.parametrize("surplus", [b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"x"], ids=repr)
def test_any_byte_behind_a_response_spends_the_connection(case: Case, surplus: bytes) -> None:
    if case.until_close:
        return
    for place in range(len(case.wire)):
        seen = read(case.wire[:place], case.wire[place:] + surplus)
        assert (seen.body, seen.ended, seen.is_reusable) == (case.body, True, False), place


@pytest.mark.parametrize(
    "codings",
    [
        (b"gzip", b"chunked"),
        (b"chunked", b"gzip"),
        (b"chunked", b"chunked"),
        (b"chunked", b"identity"),
        (b"identity", b"chunked"),
    ],
)
def test_repeated_transfer_codings_are_read_together(codings: tuple[bytes, ...]) -> None:
    fields = b"".join(b"transfer-encoding: %b\r\n" % coding for coding in codings)
    assert read(OK + fields + b"\r\n0\r\n\r\n").is_bad


def test_other_repeated_fields_leave_a_transfer_coding_as_it_is() -> None:
    fields = b"x-a: 1\r\ntransfer-encoding: chunked\r\nx-a: 2\r\n\r\n"
    seen = read(OK + fields + b"2\r\nhi\r\n0\r\n\r\n")
    assert (seen.body, seen.ended, seen.is_reusable) == (b"hi", True, True)


@every_case
def test_a_response_that_comes_byte_by_byte_is_the_same_response(case: Case) -> None:
    pieces = [case.wire[at : at + 1] for at in range(len(case.wire))]
    assert whole(case, *pieces) == whole(case, case.wire)


@every_case
def test_a_response_that_breaks_off_anywhere_gives_what_had_arrived_and_is_bad(case: Case) -> None:
    head_bytes = len(case.wire) - len(case.body)
    for place in range(len(case.wire)):
        seen = read(case.wire[:place], closed=True)
        if case.until_close and place >= head_bytes:
            assert seen.ended
        else:
            assert (seen.is_bad, seen.ended) == (True, False), place
        assert case.body.startswith(seen.body)
        begun = case.wire[:place].rpartition(b"HTTP/1.")[2]
        assert seen.promises_success == begun.startswith((b"1 2", b"0 2")), place


def test_header_names_are_lower_case_and_values_without_white_space_around_them() -> None:
    seen = read(OK + b"X-Mixed:\t a  b \t\r\ncontent-length:0\r\n\r\n")
    assert seen.headers == [(b"x-mixed", b"a  b"), (b"content-length", b"0")]


def test_headers_of_interim_responses_and_trailers_are_nobodys_headers() -> None:
    wire = b"HTTP/1.1 103 Hints\r\nx-early: 1\r\n\r\n" + CHUNKED + b"0\r\nx-late: 1\r\n\r\n"
    assert read(wire).headers == [(b"transfer-encoding", b"chunked")]


def test_a_response_to_head_ends_with_its_head() -> None:
    seen = read(OK + b"content-length: 500\r\n\r\n", wants_body=False)
    assert (seen.body, seen.ended, seen.is_reusable) == (b"", True, False)


@pytest.mark.parametrize("surplus", [b"x", OK, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("name", ["of a length", "chunked", "closing", "no content"])
def test_a_connection_with_bytes_behind_its_response_is_spent(name: str, surplus: bytes) -> None:
    case = CASES[name]
    seen = read(case.wire + surplus)
    assert (seen.status, seen.body, seen.ended) == (case.status, case.body, True)
    assert not seen.is_reusable


BAD = {
    "nonsense": b"nonsense\r\n\r\n",
    "a change of protocol": b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nhi",
    "a length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\nhi",
    "another coding": OK + b"transfer-encoding: gzip\r\n\r\nhi",
    "another coding in chunks": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n",
    "a folded line": OK + b"x-a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("wire", BAD.values(), ids=BAD)
def test_what_is_no_response_is_refused_however_it_is_cut(wire: bytes) -> None:
    assert read(wire).is_bad
    assert read(*[wire[at : at + 1] for at in range(len(wire))]).is_bad


def head_of(size: int) -> bytes:
    """A head of exactly that many bytes."""
    start, end = OK + b"x-long: ", b"\r\ncontent-length: 0\r\n\r\n"
    return start + b"x" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("step", [1000, 65_536, 300_000])
def test_a_head_may_have_64_kib_and_no_byte_more(step: int) -> None:
    for size, is_bad in ((HEAD_BYTES_MAX, False), (HEAD_BYTES_MAX + 1, True)):
        wire = head_of(size)
        seen = read(*[wire[at : at + step] for at in range(0, len(wire), step)])
        assert (seen.is_bad, seen.ended) == (is_bad, not is_bad)


def test_a_head_and_a_long_body_in_one_piece_are_read() -> None:
    body = b"x" * 300_000
    seen = read(OK + b"content-length: 300000\r\n\r\n" + body)
    assert (seen.body == body, seen.is_bad) == (True, False)


def test_a_head_has_a_bounded_number_of_fields() -> None:
    for count, is_bad in ((HEAD_FIELDS_MAX - 1, False), (HEAD_FIELDS_MAX, True)):
        assert read(OK + b"x: y\r\n" * count + b"content-length: 0\r\n\r\n").is_bad == is_bad


@pytest.mark.parametrize(
    "endless", [b"0" * 1000, b"0\r\n" + b"x: y\r\n" * 200, b"1;" + b"x" * 1000], ids=len
)
def test_what_is_no_body_cannot_go_on_without_end(endless: bytes) -> None:
    rest = OVERHEAD_BYTES_MAX // 1000 * [endless[-1:] * 1000]
    seen = read(CHUNKED, b"5\r\nhello\r\n", endless, *rest)
    assert (seen.body, seen.is_bad) == (b"hello", True)


def test_any_number_of_chunks_may_follow_each_other() -> None:
    chunks = [b"1;%b\r\nx\r\n" % (b"y" * 100)] * (2 * OVERHEAD_BYTES_MAX // 100)
    assert not read(CHUNKED, *chunks).is_bad


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=700), max_size=12),
)
def test_chunks_in_pieces_are_the_body_that_went_in(chunks: list[bytes], cuts: list[int]) -> None:
    wire = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    wire += b"0\r\n\r\n"
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    seen = read(*[wire[start:end] for start, end in pairwise(edges)])
    assert (seen.body, seen.ended, seen.is_reusable) == (b"".join(chunks), True, True)


@pytest.mark.parametrize("status", [600, 999])
def test_a_status_that_http_does_not_know_is_no_response(status: int) -> None:
    with pytest.raises(BadResponse):
        ResponseReader().feed(b"HTTP/1.1 %d Odd\r\ncontent-length: 0\r\n\r\n" % status)


def test_what_comes_with_the_head_has_the_same_limits() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    with pytest.raises(BadResponse):
        ResponseReader().feed(head + b"1;" + b"x" * (OVERHEAD_BYTES_MAX + 1))
