"""New connections to the upstream: TLS, and the addresses of a name."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.sending import ask, listening
from tests.support.tls import certificate_file, server_context
from tests.support.upstream import Gate, Response, ScriptedUpstream
from tokenbalance.errors import UpstreamTimeout, UpstreamUnavailable
from tokenbalance.wire.upstream import Upstream, UpstreamAddress, open_upstream
from tokenbalance.wire.upstream.connections import Connections

if TYPE_CHECKING:
    from pathlib import Path

    from tokenbalance.wire.upstream.dialing import Dialer


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")


async def test_tls_to_an_upstream_that_is_vouched_for_keeps_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate_file(tmp_path)))
    async with (
        listening(hello, ssl=server_context(tmp_path)) as url,
        open_upstream(UpstreamAddress(base_url=url, api_key="sk")) as sending,
    ):
        assert [await ask(sending, b"", "GET") for _ in range(3)] == [b"hello"] * 3
        client = sending._client
        assert isinstance(client, Connections)
        assert len(client._open) == 1


async def test_a_certificate_of_another_host_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate_file(tmp_path)))
    async with (
        listening(hello, ssl=server_context(tmp_path)) as url,
        open_upstream(
            UpstreamAddress(base_url=url.replace("127.0.0.1", "localhost"), api_key="sk")
        ) as sending,
    ):
        with pytest.raises(UpstreamUnavailable):
            await ask(sending)


def known_as(dialer: Dialer, *ports: int) -> None:
    """Let the name lead to these ports, in that order."""
    dialer._addresses = [(socket.AF_INET, ("127.0.0.1", port)) for port in ports]
    dialer._good_until_s = float("inf")


async def test_an_address_where_nobody_is_leaves_the_others_to_be_tried(
    connections: Connections, sending: Upstream, upstream: ScriptedUpstream
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        nobody = reserved.getsockname()[1]
    known_as(connections._dialer, nobody, urlsplit(upstream.base_url).port or 0)
    await ask(sending)
    assert len(upstream.requests) == 1


async def test_an_upstream_with_nobody_at_any_address_is_unreachable_and_asked_for_anew(
    connections: Connections, sending: Upstream, upstream: ScriptedUpstream
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        nobody = reserved.getsockname()[1]
    known_as(connections._dialer, nobody, nobody)
    with pytest.raises(UpstreamUnavailable):
        await ask(sending)
    await ask(sending)
    assert len(upstream.requests) == 1


async def test_many_connections_at_once_ask_for_the_address_once(
    sending: Upstream, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    resolve = socket.getaddrinfo

    def counting(*question: Any, **options: Any) -> Any:
        asked.append(question)
        return resolve(*question, **options)

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    gate = Gate()
    upstream.always(Response(head_gate=gate))
    asking = [asyncio.create_task(ask(sending)) for _ in range(5)]
    await upstream.received(5)
    gate.open()
    await asyncio.gather(*asking)
    assert len(asked) == 1


async def test_an_upstream_that_never_accepts_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenbalance.wire.upstream.dialing.CONNECT_TIMEOUT_S", 0.1)
    with socket.socket() as listener, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler.connect(listener.getsockname())
        connections = Connections(urlsplit(f"http://127.0.0.1:{listener.getsockname()[1]}"), [])
        with pytest.raises(UpstreamTimeout):
            await ask(Upstream(connections))
        await connections.close()
