"""What passes for an HTTP request; on real sockets, byte by byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import hostile
from tests.support.echo_server import CHUNKED, GET, HOST, assert_refused, post
from tokenbalance.wire.server.framing import CHUNK_OVERHEAD_BYTES_MAX
from tokenbalance.wire.server.request_head import HEAD_BYTES_MAX, HEAD_FIELDS_MAX, URL_BYTES_MAX

if TYPE_CHECKING:
    from tests.support.echo_server import Served


# Framing.


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"Content-Length: 4", CHUNKED, body=b"0\r\n\r\n"),
        post(CHUNKED, b"Content-Length: 4", body=b"0\r\n\r\n"),
        post(b"Content-Length: 2", b"Content-Length: 3", body=b"abc"),
        post(b"Content-Length: +2", body=b"ab"),
        post(b"Content-Length: 18446744073709551621", body=b"ab"),
        post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
        post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
        post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        b"POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n\r\n0\r\n\r\n",
        post(CHUNKED, body=b"5;a\nhello\r\n0\r\n\r\n"),
        post(CHUNKED, body=b"ffffffffffffffff1\r\nx\r\n0\r\n\r\n"),
        post(b"X: a\x00b"),
        post(b"X: a\x01b"),
        post(b"X: a\rb"),
        post(b"X: a", b" folded"),
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/?x=\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / \r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda request_bytes: repr(request_bytes[-60:]),
)
async def test_an_ambiguous_request_is_refused_and_the_connection_ends(
    served: Served, request_bytes: bytes
) -> None:
    assert_refused(await served.play(request_bytes + GET), 400)


@pytest.mark.parametrize(
    "target",
    [b"/v1/x?y#z", b"/v1/\xc5\xbf", b"http://evil.example/v1/x", b"http://a@evil.example/", b"a:1"],
)
async def test_a_target_that_is_not_a_path_here_is_an_unknown_url(
    served: Served, target: bytes
) -> None:
    request = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target
    assert_refused(await served.play(request), 400, "unknown_url")


async def test_connect_is_refused(served: Served) -> None:
    request = b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n"
    assert_refused(await served.play(request), 400, "unknown_url")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://A:80", b"a:80"),
        (b"http://a:80", b"A"),
        (b"HTTP://a", b"a:80"),
        (b"https://a", b"a:443"),
        (b"https://a:8443", b"a:8443"),
    ],
)
async def test_an_absolute_url_of_this_host_is_its_path(
    served: Served, origin: bytes, host: bytes
) -> None:
    outcome = await served.play(b"GET %s/v1/x?y HTTP/1.1\r\nHost: %s\r\n\r\n" % (origin, host))
    document = json.loads(outcome.responses[0].body)
    assert (document["path"], document["query"]) == ("/v1/x", "y")


@pytest.mark.parametrize("host", [b"a", b"a:80", b"[::1]:80", b"", b"x_y.example"])
async def test_a_usual_host_is_taken(served: Served, host: bytes) -> None:
    outcome = await served.play(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
    assert outcome.statuses == [200]


async def test_http_1_0_needs_no_host(served: Served) -> None:
    outcome = await served.play(b"GET / HTTP/1.0\r\n\r\n")
    assert outcome.statuses == [200]
    assert outcome.closed


async def test_a_trailer_is_read_and_does_not_become_a_header(served: Served) -> None:
    head = post(b"Trailer: Authorization", CHUNKED)
    outcome = await served.play(
        head + b"2\r\nhi\r\n", b"0\r\nAuthorization: Bearer x\r\n\r\n" + GET
    )
    assert outcome.statuses == [200, 200]
    document = json.loads(outcome.responses[0].body)
    assert document["body"] == "hi"
    assert "authorization" not in dict(document["headers"])


# Sizes.


@pytest.mark.parametrize("step", [None, 4096])
@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
async def test_a_head_over_the_limit_is_refused_whole_or_endless(
    patient: Served, step: int | None, end: bytes
) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * HEAD_BYTES_MAX + end
    assert_refused(await patient.play(*pieces(request, step)), 431, "request_too_large")


async def test_a_head_just_below_the_limit_is_taken(served: Served) -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    request = start + b"X: " + b"a" * (HEAD_BYTES_MAX - len(start) - 7) + b"\r\n\r\n"
    assert len(request) == HEAD_BYTES_MAX
    assert (await served.play(request)).statuses == [200]


async def test_a_small_head_in_one_read_with_a_large_body_is_taken(served: Served) -> None:
    body = b"x" * 3 * HEAD_BYTES_MAX
    outcome = await served.play(post(b"Content-Length: %d" % len(body), body=body))
    assert outcome.statuses == [200]


async def test_too_many_headers_are_refused(served: Served) -> None:
    fields = [b"X: y"] * HEAD_FIELDS_MAX
    assert_refused(await served.play(post(*fields)), 431, "request_too_large")


@pytest.mark.parametrize(
    ("length", "end"),
    [
        (URL_BYTES_MAX, b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (HEAD_BYTES_MAX, b" HTTP/1.1\r\nHost: a\r\n\r\n"),
        (HEAD_BYTES_MAX, b""),
    ],
)
async def test_a_url_over_the_limit_is_refused(patient: Served, length: int, end: bytes) -> None:
    request = b"GET /" + b"a" * length + end
    assert_refused(await patient.play(request), 414, "request_too_large")


@pytest.mark.parametrize("step", [None, 1024])
async def test_huge_chunk_extensions_are_refused(patient: Served, step: int | None) -> None:
    extension = b"a" * (CHUNK_OVERHEAD_BYTES_MAX + 100)
    request = post(CHUNKED, body=b"1;%s\r\nx\r\n0\r\n\r\n" % extension)
    assert_refused(await patient.play(*pieces(request, step)), 400)


async def test_huge_trailers_are_refused(served: Served) -> None:
    trailer = b"X: " + b"a" * (CHUNK_OVERHEAD_BYTES_MAX + 100)
    request = post(CHUNKED, body=b"1\r\nx\r\n0\r\n%s\r\n\r\n" % trailer)
    assert_refused(await served.play(request), 400)


async def test_many_one_byte_chunks_are_a_body_like_any_other(served: Served) -> None:
    body = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    outcome = await served.play(post(CHUNKED, body=body))
    assert json.loads(outcome.responses[0].body)["body"] == "x" * 20_000


async def test_blank_lines_without_end_are_refused(patient: Served) -> None:
    assert_refused(await patient.play(b"\r\n" * HEAD_BYTES_MAX), 400)


def pieces(request: bytes, step: int | None) -> list[bytes]:
    if step is None:
        return [request]
    return [request[i : i + step] for i in range(0, len(request), step)]


# What is collected of such attacks.


@pytest.mark.parametrize(
    "case", hostile.load_cases(category="http-framing"), ids=lambda case: case.id
)
async def test_a_recorded_framing_attack_ends_as_expected(
    patient: Served, case: hostile.Case
) -> None:
    host = f"{HOST}:{patient.port}"
    filled = case.filled({"KEY": "sk-key", "HOST": host})
    outcome = await hostile.send(filled, HOST, patient.port, patience_s=15)
    complaints = hostile.check(filled, outcome)
    # The echo knows no keys: what only authentication refuses, it may answer.
    if 401 in case.expect_status and outcome.statuses == [200]:
        complaints = [text for text in complaints if "status 200" not in text]
    assert complaints == []
