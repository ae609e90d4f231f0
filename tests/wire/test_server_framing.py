"""Requests of HTTP/1.1 cut in every way: the head, the body, and where the next one begins."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tokenbalance.errors import ProxyError
from tokenbalance.wire.server.framing import RequestReader


@dataclass
class Body:
    """One request as it was read."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    keeps_alive: bool
    data: bytes = b""
    is_whole: bool = False

    def feed_body(self, data: bytes) -> None:
        self.data += data

    def feed_end(self) -> None:
        self.is_whole = True


@dataclass
class Read:
    """What a reader made of some bytes."""

    requests: list[Body] = field(default_factory=list)
    status: int = 0
    has_begun: bool = False


def read(*pieces: bytes) -> Read:
    seen = Read()

    def begin() -> Body:
        seen.requests.append(Body(reader.method, reader.target, reader.headers, reader.keeps_alive))
        return seen.requests[-1]

    reader = RequestReader(begin)
    try:
        for piece in pieces:
            reader.feed(piece)
    except ProxyError as error:
        seen.status = error.status
    seen.has_begun = reader.has_begun
    return seen


GET = b"GET /v1/models?a=b HTTP/1.1\r\nHost: a\r\n\r\n"
REQUESTS = {
    "without a body": GET,
    "with a length": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "in chunks": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nX-Trailer: t\r\n\r\n"
    ),
    "of HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "that closes": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "that asks to upgrade": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-Y\r\nUpgrade: h2c\r\n"
        b"Content-Length: 5\r\n\r\nhello"
    ),
    "behind another": GET + b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    "refused": GET + b"GET / HTTP/1.1\r\n\r\n",
}
every_request = pytest.mark.parametrize("wire", REQUESTS.values(), ids=REQUESTS)


@every_request
def test_a_request_cut_in_two_anywhere_is_the_same_request(wire: bytes) -> None:
    expected = read(wire)
    assert expected.status or all(request.is_whole for request in expected.requests)
    for place in range(1, len(wire)):
        assert read(wire[:place], wire[place:]) == expected, place


@every_request
def test_a_request_that_comes_byte_by_byte_is_the_same_request(wire: bytes) -> None:
    assert read(*[wire[at : at + 1] for at in range(len(wire))]) == read(wire)


@every_request
def test_a_head_has_begun_until_it_is_whole(wire: bytes) -> None:
    end = wire.index(b"\r\n\r\n") + 4
    for place in range(1, end):
        assert read(wire[:place]).has_begun, place
    assert not read(wire[:end]).has_begun


def test_an_upgrade_is_not_asked_for_any_more_and_its_field_stays() -> None:
    headers = dict(read(REQUESTS["that asks to upgrade"]).requests[0].headers)
    assert (headers[b"connection"], headers[b"upgrade"]) == (b"X-Y", b"h2c")


def test_a_trailer_is_no_header_of_its_request() -> None:
    (request,) = read(REQUESTS["in chunks"]).requests
    assert b"x-trailer" not in dict(request.headers)
    assert request.data == b"hello"


def test_what_may_follow_on_the_connection_is_known_with_the_head() -> None:
    keeps_alive = {name: read(wire).requests[0].keeps_alive for name, wire in REQUESTS.items()}
    assert {name for name, keeps in keeps_alive.items() if not keeps} == {
        "of HTTP/1.0",
        "that closes",
    }
