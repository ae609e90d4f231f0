"""Heads of requests: what is in them, and that nothing in them can end its line."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tokenbalance.errors import UpstreamUnavailable
from tokenbalance.wire.upstream.request_head import RequestHeads

HEADS = RequestHeads(urlsplit("https://api.example:8443/v1"), [(b"authorization", b"Bearer x")])


def test_a_head_has_the_clients_headers_and_the_operators() -> None:
    head = HEADS.write("POST", "/chat/completions?a=%20b", [(b"accept", b"*/*")], 12)
    assert head == (
        b"POST /v1/chat/completions?a=%20b HTTP/1.1\r\nhost: api.example:8443\r\n"
        b"authorization: Bearer x\r\naccept: */*\r\ncontent-length: 12\r\n\r\n"
    )


@pytest.mark.parametrize(("method", "is_said"), [("POST", True), ("GET", False), ("HEAD", False)])
def test_an_empty_body_has_a_length_where_a_body_is_expected(method: str, is_said: bool) -> None:
    assert (b"content-length: 0" in HEADS.write(method, "/models", [], 0)) == is_said


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\nx-injected: 1", "\n\r"])
def test_what_would_end_its_line_is_not_sent(end: str) -> None:
    for target, headers in (
        (f"/models{end}", []),
        ("/models", [(b"x-a", b"b" + end.encode())]),
        ("/models", [(b"x-a" + end.encode(), b"b")]),
    ):
        with pytest.raises(UpstreamUnavailable):
            HEADS.write("GET", target, headers, 0)


@pytest.mark.parametrize("target", ["/models HTTP/1.0", "/m\u00f6dels"])
def test_what_is_no_target_is_not_sent(target: str) -> None:
    with pytest.raises(UpstreamUnavailable):
        HEADS.write("GET", target, [], 0)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://[::1]:9000/v1", b"[::1]:9000"),
        ("http://api.example", b"api.example"),
        ("https://API.example:443/v1", b"api.example"),
        ("http://b\u00fccher.example/v1", b"xn--bcher-kva.example"),
    ],
)
def test_the_host_is_that_of_the_url_without_the_usual_port(url: str, host: bytes) -> None:
    head = RequestHeads(urlsplit(url), []).write("GET", "/", [], 0)
    assert b"\r\nhost: %b\r\n" % host in head
