"""Errors of the upstream that are odd in some way: passed on, and free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT, DONE, STREAM, USAGE
from tests.support.upstream import (
    Framing,
    Response,
    ScriptedUpstream,
)
from tests.support.upstream_faults import MEGABYTE, Odd, assert_free, error_code, post

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import HeaderList
    from tokenbalance.database.connections import Pool


ODD_ERRORS = {
    "400 empty": Odd(400),
    "404 HTML": Odd(404, b"<html><h1>404</h1></html>", "text/html"),
    "413 empty, closing": Odd(413, framing=Framing.CLOSE),
    "429 invalid UTF-8": Odd(429, b'{"error": "\xff\xfe\x80"}'),
    "500 as a stream": Odd(500, USAGE + DONE, "text/event-stream"),
    "500 with usage": Odd(500, b'{"usage":{"prompt_tokens":9,"total_tokens":9}}'),
    "502 without a content type": Odd(502, b"Bad Gateway", None),
    "503 huge": Odd(503, b"x" * (9 * MEGABYTE), "text/plain"),
    "503 chunked": Odd(503, b"later", "text/plain", Framing.CHUNKED),
    "520 unknown": Odd(520, b"error code: 520", "text/plain"),
    "599 until the connection closes": Odd(599, b"[]", framing=Framing.CLOSE),
    "301 elsewhere": Odd(301),
    "304 not modified": Odd(304, framing=Framing.NONE),
}


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["document", "stream"])
@pytest.mark.parametrize("odd", ODD_ERRORS.values(), ids=ODD_ERRORS)
async def test_an_odd_error_arrives_as_it_came_and_is_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    odd: Odd,
    body: dict[str, Any],
) -> None:
    headers = [("content-type", odd.content_type)] if odd.content_type else []
    upstream.script(
        Response(status=odd.status, headers=headers, body=odd.body, framing=odd.framing)
    )
    response = await post(http, holder, body)
    assert (response.status_code, response.content) == (odd.status, odd.body)
    assert response.headers.get("content-type") == odd.content_type
    await assert_free(pool, holder)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_passed_on_and_never_followed(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, status: int
) -> None:
    headers: HeaderList = [("location", f"{upstream.base_url}/elsewhere")]
    upstream.script(Response(status=status, headers=headers, body=b""))
    response = await post(http, holder)
    assert response.status_code == status
    assert len(upstream.requests) == 1
    await assert_free(pool, holder)


async def test_an_error_that_breaks_off_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(Response(status=500, body=b'{"error": {"message": "no"}}', cut_after=9))
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


async def test_a_change_of_protocol_that_nobody_asked_for_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(
        Response(
            raw=b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\n\r\n\x81\x05hello"
        )
    )
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)
