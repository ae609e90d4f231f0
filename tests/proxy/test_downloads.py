"""Answers of bytes: they pass as they come, in part where that is asked for, and never kept."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.forms import SURFACE
from tests.support.product import serving
from tests.support.raw_requests import connection_to
from tests.support.upstream import Framing, Gate, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

PATH = "/v1/files/everything/content"
DATA = os.urandom(300_000)
OF_A_FILE = (
    ("content-type", "application/octet-stream"),
    ("content-disposition", 'attachment; filename="a.bin"'),
    ("etag", '"1"'),
    ("last-modified", "Mon, 30 Nov 2026 12:00:00 GMT"),
    ("accept-ranges", "bytes"),
    ("set-cookie", "a=b"),
)


@pytest.fixture
async def http(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(dsn, upstream.base_url, SURFACE) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE])
async def test_a_file_passes_as_it_comes(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, framing: Framing
) -> None:
    upstream.script(Response(headers=OF_A_FILE, body=DATA, framing=framing))
    response = await http.get(PATH, headers=holder.headers)
    assert (response.status_code, response.content) == (200, DATA)
    assert {name: response.headers[name] for name, _ in OF_A_FILE[:-1]} == dict(OF_A_FILE[:-1])
    assert "set-cookie" not in response.headers
    length = str(len(DATA)) if framing is Framing.LENGTH else None
    assert response.headers.get("content-length") == length


async def test_what_has_come_is_passed_on_before_the_rest_comes(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    headers = (("content-length", "6"),)
    upstream.script(Response(headers=headers, body=[b"abc", gate, b"def"], framing=Framing.NONE))
    async with http.stream("GET", PATH, headers=holder.headers) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"abc"
        gate.open()
        assert await anext(pieces) == b"def"
    assert response.headers["content-length"] == "6"


async def test_a_part_of_a_file_is_asked_for_and_passed_on(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    in_part = (("content-range", "bytes 2-4/9"), ("content-type", "text/plain"))
    upstream.script(Response(status=206, headers=in_part, body=b"cde"))
    asked = {
        "range": "bytes=2-4",
        "if-range": '"1"',
        "if-none-match": '"2"',
        "if-modified-since": "Mon, 30 Nov 2026 12:00:00 GMT",
    }
    response = await http.get(PATH, headers={**holder.headers, **asked})
    assert (response.status_code, response.content) == (206, b"cde")
    assert response.headers["content-range"] == "bytes 2-4/9"
    (request,) = upstream.requests
    assert {name: request.header(name) for name in asked} == asked


@pytest.mark.parametrize(
    ("answer", "header"),
    [
        (Response(status=304, headers=(("etag", '"1"'),), body=b"", framing=Framing.NONE), "etag"),
        (
            Response(status=416, headers=(("content-range", "bytes */9"),), body=b"{}"),
            "content-range",
        ),
    ],
)
async def test_a_file_that_is_not_sent_says_why(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    answer: Response,
    header: str,
) -> None:
    upstream.script(answer, Response(body=b"a"))
    response = await http.get(PATH, headers={**holder.headers, "range": "bytes=9-"})
    assert (response.status_code, response.content) == (answer.status, answer.body)
    assert response.headers[header] == dict(answer.headers)[header]
    # The connection goes on, on both sides.
    assert (await http.get(PATH, headers=holder.headers)).content == b"a"


async def test_the_head_of_a_file_is_not_its_body(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    head = b'HTTP/1.1 200 OK\r\ncontent-length: 300000\r\netag: "1"\r\n\r\n'
    upstream.script(Response(raw=[head]), Response(body=b"a"))
    response = await http.head(PATH, headers=holder.headers)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "300000"
    assert upstream.requests[0].method == "HEAD"
    assert (await http.get(PATH, headers=holder.headers)).content == b"a"


async def test_ranges_of_other_requests_do_not_go_upstream(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    headers = {**holder.headers, "range": "bytes=2-4", "content-type": "multipart/form-data"}
    headers["content-type"] += "; boundary=b"
    assert (await http.post("/v1/files", content=b"--b--", headers=headers)).status_code != 400
    assert upstream.requests[0].header("range") is None


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED])
async def test_a_file_that_breaks_off_breaks_off_for_the_client_too(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    framing: Framing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream.script(Response(headers=OF_A_FILE, body=DATA, framing=framing, cut_after=100_000))
    async with http.stream("GET", PATH, headers=holder.headers) as response:
        assert response.status_code == 200
        read = bytearray()
        with pytest.raises(httpx2.RemoteProtocolError):
            await _read_into(read, response)
    assert read == DATA[:100_000]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def _read_into(read: bytearray, response: httpx2.Response) -> None:
    async for piece in response.aiter_raw():
        read += piece


async def test_a_client_that_leaves_ends_its_download(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    upstream.script(Response(headers=OF_A_FILE, body=[DATA, gate, DATA]))
    async with connection_to(str(http.base_url)) as connection:
        head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {holder.secret}\r\n\r\n"
        connection.writer.write(head.encode())
        _ = await connection.reader.readuntil(b"\r\n\r\n")
        await gate.reached.wait()
    async with asyncio.timeout(10):
        await upstream.until(lambda: len(upstream.disconnected) == 1)


async def test_a_client_that_does_not_read_stops_the_upstream(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    chunk = bytes(1024 * 1024)
    upstream.script(Response(headers=OF_A_FILE, body=[chunk] * 64))
    async with connection_to(str(http.base_url)) as connection:
        head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {holder.secret}\r\n\r\n"
        connection.writer.write(head.encode())
        request = await upstream.received()
        sent = -1
        while request.bytes_sent != sent:
            sent = request.bytes_sent
            await asyncio.sleep(0.1)
        assert 0 < sent < 48 * len(chunk)
        length = 0
        while length < 64 * len(chunk):
            length += len(await connection.reader.read(len(chunk)))
