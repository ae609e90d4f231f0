"""Bodies that are sent upstream from the disk: piece by piece, by either client."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.egress_proxy import EgressProxy
from tests.support.sending import MEGABYTE, listening, read_all
from tests.support.upstream import Gate
from tokenbalance.errors import UpstreamUnavailable
from tokenbalance.wire.client.spool import PIECE_BYTES, Spools
from tokenbalance.wire.upstream import Upstream, UpstreamAddress, open_upstream
from tokenbalance.wire.upstream.connections import Connections

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.support.upstream import ScriptedUpstream

BODY = os.urandom(3 * MEGABYTE) + b"end"


class Counted:
    """A body of zeros that counts what was read of it."""

    size = 64 * MEGABYTE

    def __init__(self) -> None:
        self.read_to = 0

    async def read(self, offset: int) -> bytes:
        self.read_to = offset
        await asyncio.sleep(0)
        return bytes(min(PIECE_BYTES, self.size - offset))


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Connections]:
    connections = Connections(urlsplit(url), [])
    try:
        yield connections
    finally:
        await connections.close()


async def post(upstream: Upstream, body: Counted) -> tuple[int, bytes]:
    response = await upstream.send("POST", "/files", [], body)
    try:
        return response.status, await read_all(response)
    finally:
        await response.close()


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_body_on_the_disk_arrives_whole_with_its_length(
    upstream: ScriptedUpstream, tmp_path: Path, by_proxy: bool
) -> None:
    spools = Spools(tmp_path)
    spool = spools.new()
    for start in range(0, len(BODY), 100_000):
        await spool.write(BODY[start : start + 100_000])
    await spool.seal()
    assert spool.kept is None
    async with EgressProxy() as proxy:
        address = UpstreamAddress(
            base_url=upstream.base_url, api_key="sk", proxy_url=proxy.url if by_proxy else None
        )
        async with open_upstream(address) as sending:
            for _ in range(2):
                response = await sending.send("POST", "/responses/input_tokens", [], spool)
                assert await read_all(response)
                await response.close()
    spool.close()
    spools.close()
    for request in upstream.requests:
        assert request.body == BODY
        assert request.header("content-length") == str(len(BODY))
        assert request.header("transfer-encoding") is None
    assert {request.connection for request in upstream.requests} == {0}


async def test_a_body_is_read_as_fast_as_the_upstream_takes_it() -> None:
    gate = Gate()
    body = Counted()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await gate.pass_through()
        await reader.readexactly(body.size)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")

    async with listening(serve) as url, connected(url) as connections:
        asking = asyncio.create_task(post(Upstream(connections), body))
        await gate.reached.wait()
        (connection,) = connections._open
        read_to = -1
        while body.read_to != read_to or not connection._is_full:
            read_to = body.read_to
            await asyncio.sleep(0.05)
        assert read_to < body.size // 2
        assert connection._transport.get_write_buffer_size() <= 2 * PIECE_BYTES
        gate.open()
        assert await asking == (200, b"done")


@pytest.mark.parametrize("closes", [True, False])
async def test_a_refusal_ends_the_sending_and_the_connection(closes: bool) -> None:
    body = Counted()
    responded = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 5\r\n\r\nlarge")
        if not closes:
            await responded.wait()

    async with listening(serve) as url, connected(url) as connections:
        assert await post(Upstream(connections), body) == (413, b"large")
        assert body.read_to < body.size // 2
        assert not [*connections._free, *connections._of_account]
        responded.set()


async def test_an_answer_that_begins_before_the_end_does_not_end_the_sending() -> None:
    body = Counted()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await reader.readexactly(body.size)
        writer.write(b"done")

    async with listening(serve) as url, connected(url) as connections:
        assert await post(Upstream(connections), body) == (200, b"done")


async def test_an_upstream_that_is_lost_ends_the_sending() -> None:
    body = Counted()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(MEGABYTE)
        writer.transport.abort()

    async with listening(serve) as url, connected(url) as connections:
        with pytest.raises(UpstreamUnavailable):
            await post(Upstream(connections), body)
        assert body.read_to < body.size
        assert not connections._open


async def test_a_body_that_cannot_be_read_ends_the_connection() -> None:
    class Unreadable(Counted):
        async def read(self, offset: int) -> bytes:
            if offset:
                raise OSError
            return await super().read(offset)

    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(MEGABYTE):
            pass
        gone.set()

    async with listening(serve) as url, connected(url) as connections:
        with pytest.raises(OSError):  # noqa: PT011 - the body's own, whatever it says
            await post(Upstream(connections), Unreadable())
        async with asyncio.timeout(10):
            await gone.wait()
