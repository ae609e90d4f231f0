"""An upstream that does not respond: 502 or 504, and free."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import create_holder, hold_states
from tests.support.fault_proxy import FaultProxy, url_target, url_through
from tests.support.product import serving
from tests.support.tls import server_context
from tests.support.upstream import (
    Response,
    ScriptedUpstream,
)
from tests.support.upstream_faults import (
    BALANCE,
    MEGABYTE,
    OK_HEAD,
    assert_free,
    error_code,
    post,
    shorten_timeouts,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_an_upstream_whose_name_is_unknown_is_a_502_and_free(
    dsn: str, pool: Pool, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    resolve = socket.getaddrinfo

    def unknown(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "127.0.0.1":
            return resolve(host, *args, **kwargs)
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The question must not leave the machine.
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with (
        serving(dsn, "https://upstream.invalid/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    assert asked == ["upstream.invalid"]
    await assert_free(pool, holder)


@asynccontextmanager
async def listening(
    response: bytes | None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A port that says that to whoever sends something; None: keeps silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if response is None:
            await reader.read()
        else:
            writer.write(response)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_certificate_that_nobody_signed_is_a_502_and_nothing_is_sent(
    dsn: str, pool: Pool, holder: Holder, tmp_path: Path
) -> None:
    async with (
        listening(OK_HEAD + b"content-length: 2\r\n\r\n{}", server_context(tmp_path)) as port,
        serving(dsn, f"https://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


async def test_https_to_a_port_without_tls_is_a_502_and_free(
    dsn: str, pool: Pool, holder: Holder
) -> None:
    async with (
        listening(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as port,
        serving(dsn, f"https://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    await assert_free(pool, holder)


async def test_a_tls_handshake_that_stalls_is_a_504_and_free(
    dsn: str, pool: Pool, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_timeouts(monkeypatch)
    async with (
        listening(None) as port,
        serving(dsn, f"https://127.0.0.1:{port}/v1") as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (504, "upstream_timeout")
    await assert_free(pool, holder)


async def test_a_black_hole_on_the_way_to_the_upstream_is_a_504_and_over_when_it_is_over(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, BALANCE)
    async with (
        FaultProxy(url_target(upstream.base_url)) as proxy,
        serving(dsn, url_through(proxy, upstream.base_url)) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        assert (await post(http, holder)).status_code == 200
        shorten_timeouts(monkeypatch)
        proxy.black_hole()
        response = await post(http, holder)
        assert (response.status_code, error_code(response)) == (504, "upstream_timeout")
        proxy.heal()
        monkeypatch.undo()
        assert (await post(http, holder)).status_code == 200
    assert await hold_states(pool, holder) == ["settled", "voided", "settled"]


NO_RESPONSES = {
    "nonsense": b"nonsense\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no number for a status": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 Low\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 1000 High\r\n\r\n",
    "only an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "less than a status": b"HTTP/1.1 ",
    "an error's unfinished head": b"HTTP/1.1 500 No\r\nx-begun: ",
    "an error's endless header": b"HTTP/1.1 400 No\r\nx-endless: " + b"x" * MEGABYTE,
    "an error of two lengths": b"HTTP/1.1 503 No\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
}


@pytest.mark.parametrize("raw", NO_RESPONSES.values(), ids=NO_RESPONSES)
async def test_what_is_no_http_answer_is_a_502_and_free(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, raw: bytes
) -> None:
    upstream.script(Response(raw=raw))
    response = await post(http, holder)
    assert (response.status_code, error_code(response)) == (502, "upstream_unavailable")
    assert len(upstream.requests) == 1
    await assert_free(pool, holder)
