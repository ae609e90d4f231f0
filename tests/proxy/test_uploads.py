"""Forms with files: they reach the upstream byte for byte, whatever their size."""

from __future__ import annotations

import errno
import io
import os
import re
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from tests.support.books import account_of, create_holder
from tests.support.forms import BOUNDARY, CONTENT_TYPE, SURFACE, file, form, text
from tests.support.product import serving
from tests.support.raw_requests import connection_to
from tests.support.upstream import Response
from tokenbalance.wire.client import spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

MEBIBYTE = 1024 * 1024
MADE = Response(body=b'{"id": "file-1", "object": "file"}')
SMALL = form(text("purpose", "assistants"), file("file", "hello"))
LARGE = form(text("purpose", "assistants"), file("file", os.urandom(3 * MEBIBYTE)))


@pytest.fixture
async def http(
    dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    upstream.always(MADE)
    async with (
        serving(dsn, upstream.base_url, SURFACE, data_dir=tmp_path, upload_max_mb=4) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        yield client


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


async def post(
    http: httpx2.AsyncClient, holder: Holder, body: bytes, content_type: str = CONTENT_TYPE
) -> httpx2.Response:
    headers = {**holder.headers, "content-type": content_type}
    return await http.post("/v1/files", content=body, headers=headers)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["in memory", "on the disk"])
async def test_a_form_goes_upstream_as_it_came(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, body: bytes
) -> None:
    response = await post(http, holder, body)
    assert (response.status_code, response.content) == (200, MADE.body)
    (request,) = upstream.requests
    assert request.body == body
    assert request.header("content-length") == str(len(body))
    assert request.header("content-type") == CONTENT_TYPE


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (f'multipart/form-data; boundary="{BOUNDARY.decode()}"', CONTENT_TYPE),
        (f"Multipart/Form-Data;boundary={BOUNDARY.decode()};charset=UTF-8", CONTENT_TYPE),
        (f"multipart/form-data; x=y; boundary={BOUNDARY.decode()};", CONTENT_TYPE),
    ],
)
async def test_the_type_goes_upstream_as_it_was_understood(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, sent: str, passed: str
) -> None:
    assert (await post(http, holder, SMALL, sent)).status_code == 200
    assert upstream.requests[0].header("content-type") == passed


async def test_a_form_in_chunks_gets_a_length(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 100_000):
            yield LARGE[start : start + 100_000]

    headers = {**holder.headers, "content-type": CONTENT_TYPE}
    response = await http.post("/v1/files", content=pieces(), headers=headers)
    assert response.status_code == 200
    assert upstream.requests[0].body == LARGE
    assert upstream.requests[0].header("transfer-encoding") is None


async def test_the_official_sdk_uploads_a_file(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    async with openai.AsyncOpenAI(
        api_key=holder.secret, base_url=f"{http.base_url}/v1", max_retries=0
    ) as client:
        made = await client.files.create(
            file=("a \N{SNOWMAN}.jsonl", io.BytesIO(LARGE)),
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    assert made.id == "file-1"
    assert LARGE in upstream.requests[0].body


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        (None, 415, "unsupported_media_type"),
        ("application/json", 415, "unsupported_media_type"),
        ("multipart/mixed; boundary=x", 415, "unsupported_media_type"),
        (f"{CONTENT_TYPE}; charset=utf-16", 415, "unsupported_media_type"),
        ("multipart/form-data", 400, "invalid_form"),
        ("multipart/form-data; boundary=", 400, "invalid_form"),
        ('multipart/form-data; boundary=""', 400, "invalid_form"),
        (f"multipart/form-data; boundary={'x' * 71}", 400, "invalid_form"),
        ('multipart/form-data; boundary="a b"', 400, "invalid_form"),
        ("multipart/form-data; boundary=a; boundary=b", 400, "invalid_form"),
        ("multipart/form-data; boundary*=utf-8''a", 400, "invalid_form"),
        ("multipart/form-data; boundary*0=a", 400, "invalid_form"),
        ("multipart/form-data; boundary=a b", 400, "invalid_form"),
        ("multipart/form-data, multipart/form-data; boundary=a", 415, "unsupported_media_type"),
    ],
)
async def test_a_body_that_is_not_declared_as_one_form_is_refused(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    content_type: str | None,
    status: int,
    code: str,
) -> None:
    headers = {"content-type": content_type} if content_type is not None else {}
    response = await http.post("/v1/files", content=SMALL, headers={**holder.headers, **headers})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert upstream.requests == []


async def test_a_compressed_form_is_refused(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    headers = {**holder.headers, "content-type": CONTENT_TYPE, "content-encoding": "gzip"}
    response = await http.post("/v1/files", content=SMALL, headers=headers)
    assert (response.status_code, upstream.requests) == (415, [])


async def test_a_malformed_form_is_refused_by_its_field(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    body = form(text("purpose", "assistants"), text("purpose", "batch"), file("file", "hello"))
    response = await post(http, holder, body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_form", "purpose")
    assert upstream.requests == []


@pytest.mark.parametrize("declares", [True, False])
async def test_a_form_that_is_too_large_is_refused(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, declares: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield form(file("file", bytes(5 * MEBIBYTE)))

    body = form(file("file", bytes(5 * MEBIBYTE))) if declares else pieces()
    headers = {**holder.headers, "content-type": CONTENT_TYPE}
    response = await http.post("/v1/files", content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [
        (errno.ENOSPC, 507, "storage_full"),
        (errno.EDQUOT, 507, "storage_full"),
        (errno.EIO, 503, "service_unavailable"),
    ],
)
async def test_a_disk_that_takes_no_more_costs_nothing(
    http: httpx2.AsyncClient,
    pool: Pool,
    holder: Holder,
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    code: str,
) -> None:
    def write(_descriptor: int, _data: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(spool.os, "write", write)
        response = await post(http, holder, LARGE)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert upstream.requests == []
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)
    assert (await post(http, holder, LARGE)).status_code == 200


async def test_a_client_waits_for_a_word_before_it_sends_its_form(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    async with connection_to(str(http.base_url)) as connection:
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {holder.secret}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(LARGE)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        connection.writer.write(head.encode())
        interim = await connection.response()
        assert interim.status == 100
        await connection.send(LARGE)
        assert (await connection.response()).status == 200
    assert upstream.requests[0].body == LARGE


async def test_a_form_that_is_refused_by_its_head_is_not_waited_for(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    async with connection_to(str(http.base_url)) as connection:
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {holder.secret}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {5 * MEBIBYTE}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        connection.writer.write(head.encode())
        assert (await connection.response()).status == 413


async def test_nothing_is_left_of_an_upload(
    http: httpx2.AsyncClient, holder: Holder, tmp_path: Path
) -> None:
    assert (await post(http, holder, LARGE)).status_code == 200
    folder = tmp_path / "spool"
    assert [*folder.iterdir()] == []
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_an_upstream_that_refuses_early_is_passed_on(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(status=413, body=b'{"error": {"code": "too_large"}}', close=True))
    response = await post(http, holder, LARGE)
    assert response.status_code == 413
    assert re.search("too_large", response.text)
