"""Requests that leave through an egress proxy are what they are without one."""

from __future__ import annotations

import gzip
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.egress_proxy import EgressProxy
from tests.support.product import serving
from tests.support.tls import certificate_file, server_context
from tests.support.upstream import Framing, Gate, Response, ScriptedUpstream, event_stream
from tokenbalance.errors import UpstreamTimeout, UpstreamUnavailable
from tokenbalance.wire.upstream import Upstream, UpstreamAddress, UpstreamBroke, open_upstream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tokenbalance.database.connections import Pool

REPORTED = b'{"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}'


@asynccontextmanager
async def through(proxy_url: str, upstream_url: str) -> AsyncGenerator[Upstream]:
    address = UpstreamAddress(base_url=upstream_url, api_key="sk-operator", proxy_url=proxy_url)
    async with open_upstream(address) as upstream:
        yield upstream


async def ask(upstream: Upstream, body: bytes = b"{}") -> bytes:
    response = await upstream.send("POST", "/chat/completions", [(b"x-a", b"b")], body)
    read = b""
    while piece := await response.read():
        read += piece
    await response.close()
    return read


async def test_a_chat_through_a_proxy_is_charged_and_the_proxy_saw_it(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(Response(body=REPORTED), event_stream(content("a"), USAGE, DONE))
    async with (
        EgressProxy("user:secret") as proxy,
        serving(dsn, upstream.base_url, upstream_proxy=proxy.url) as url,
        httpx2.AsyncClient(base_url=url, headers=holder.headers) as http,
    ):
        document = await http.post("/v1/chat/completions", json=CHAT)
        stream = await http.post("/v1/chat/completions", json=STREAM)
    assert document.content == REPORTED
    assert stream.content == content("a") + DONE
    assert [line.split()[0] for line in proxy.asked] == [b"POST"]
    assert [charge["total"] for charge in await charges_of(pool, holder)] == [12, 12]
    assert (await account_of(pool, holder)).balance == 976


async def test_https_is_tunnelled_and_the_certificate_is_checked_behind_the_proxy(
    upstream: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        EgressProxy(tls=server_context(tmp_path)) as tls_end,
        EgressProxy() as proxy,
    ):
        secure = tls_end.url + "/v1"
        async with through(proxy.url, secure) as sending:
            with pytest.raises(UpstreamUnavailable):
                await ask(sending)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate_file(tmp_path)))
        async with through(proxy.url, secure) as sending:
            # What ends the tunnel is no upstream: it was reached, and forwards nothing.
            with pytest.raises(UpstreamUnavailable):
                await ask(sending)
    assert {line.split()[0] for line in proxy.asked} == {b"CONNECT"}
    assert tls_end.asked == [b"POST /v1/chat/completions HTTP/1.1"]
    assert upstream.requests == []


async def test_a_proxy_that_refuses_its_credentials_is_a_502_and_free_and_they_stay_secret(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    holder = await create_holder(pool, 1000)
    caplog.set_level(logging.DEBUG)
    async with (
        EgressProxy("user:right") as proxy,
        serving(
            dsn,
            upstream.base_url.replace("http:", "https:"),
            upstream_proxy=proxy.url.replace("right", "secret-of-the-proxy"),
        ) as url,
        httpx2.AsyncClient(base_url=url, headers=holder.headers) as http,
    ):
        response = await http.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_unavailable"
    assert await hold_states(pool, holder) == ["voided"]
    assert "secret-of-the-proxy" not in caplog.text + response.text


async def test_what_goes_wrong_behind_the_proxy_is_told_as_without_one(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EgressProxy() as proxy, through(proxy.url, upstream.base_url) as sending:
        upstream.script(Response(raw=b"nonsense\r\n\r\n"))
        with pytest.raises(UpstreamUnavailable):
            await ask(sending)
        upstream.script(Response(body=b"x" * 9, cut_after=5))
        with pytest.raises(UpstreamBroke):
            await ask(sending)
        upstream.script(Response(body=b"x" * 9, framing=Framing.CHUNKED, cut_after=5))
        with pytest.raises(UpstreamBroke):
            await ask(sending)
        monkeypatch.setattr("tokenbalance.wire.upstream.egress.READ_TIMEOUT_S", 0.1)
        upstream.script(Response(head_gate=Gate()))
        with pytest.raises(UpstreamTimeout):
            await ask(sending)


async def test_a_proxy_that_is_not_there_is_no_upstream(upstream: ScriptedUpstream) -> None:
    async with EgressProxy() as proxy:
        url = proxy.url
    async with through(url, upstream.base_url) as sending:
        with pytest.raises(UpstreamUnavailable):
            await ask(sending)
    assert upstream.requests == []


async def test_what_comes_compressed_through_the_proxy_is_decoded(
    upstream: ScriptedUpstream,
) -> None:
    upstream.script(Response(headers=[("content-encoding", "gzip")], body=gzip.compress(REPORTED)))
    async with EgressProxy() as proxy, through(proxy.url, upstream.base_url) as sending:
        assert await ask(sending) == REPORTED
    (request,) = upstream.requests
    assert request.header("accept-encoding") == "identity"
    assert request.header("authorization") == "Bearer sk-operator"
    assert request.header("x-a") == "b"
