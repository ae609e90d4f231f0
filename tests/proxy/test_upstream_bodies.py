"""Bodies to and from the upstream over real sockets: whole, in time, and decoded."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.compression import br, zstd
from tests.support.sending import MEGABYTE, ask, listening, read_all, send, until
from tests.support.upstream import Gate, Response, ScriptedUpstream
from tokenbalance.errors import UpstreamUnavailable
from tokenbalance.wire.upstream import Upstream, UpstreamBroke
from tokenbalance.wire.upstream.connections import Connections
from tokenbalance.wire.upstream.decoding import DECODED_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_an_answer_to_head_has_no_body(sending: Upstream, upstream: ScriptedUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"
    upstream.script(Response(raw=[head, Gate()]))
    response = await send(sending, b"", "HEAD")
    assert (response.status, await read_all(response)) == (200, b"")


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 20 * MEGABYTE])
async def test_a_body_of_any_size_arrives_whole(
    sending: Upstream, upstream: ScriptedUpstream, size: int
) -> None:
    body = b"0123456789abcdef" * (size // 16 + 1)
    await ask(sending, body[:size])
    await ask(sending)
    assert upstream.requests[0].body == body[:size]
    assert [request.connection for request in upstream.requests] == [0, 0]


async def test_a_large_body_is_written_as_fast_as_the_upstream_takes_it() -> None:
    gate = Gate()
    size = 16 * MEGABYTE

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await gate.pass_through()
        await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")

    async with listening(serve) as url:
        connections = Connections(urlsplit(url), [])
        asking = asyncio.create_task(ask(Upstream(connections), b"x" * size))
        await gate.reached.wait()
        (connection,) = connections._open
        await until(lambda: connection._is_full)
        assert connection._transport.get_write_buffer_size() < MEGABYTE
        gate.open()
        assert await asking == b"done"
        await connections.close()


@pytest.mark.parametrize("closes", [True, False])
async def test_an_answer_may_come_before_the_body_was_written_and_ends_the_connection(
    closes: bool,
) -> None:
    asked = 0
    responded = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 5\r\n\r\nlarge")
        if not closes:
            await responded.wait()

    async with listening(serve) as url:
        connections = Connections(urlsplit(url), [])
        response = await send(Upstream(connections), b"x" * 16 * MEGABYTE)
        assert (response.status, await read_all(response)) == (413, b"large")
        assert not [*connections._free, *connections._of_account]
        responded.set()
        await connections.close()
    assert asked == 1


async def test_an_answer_may_begin_while_the_upstream_takes_no_more_of_the_body() -> None:
    seen = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nearly")
        await seen.wait()
        writer.write(b" late")
        await writer.drain()

    async with listening(serve) as url:
        connections = Connections(urlsplit(url), [])
        async with asyncio.timeout(10):
            response = await send(Upstream(connections), b"x" * 16 * MEGABYTE)
        assert await response.read() == b"early"
        seen.set()
        assert await read_all(response) == b" late"
        assert not [*connections._free, *connections._of_account]
        await connections.close()


async def test_an_answer_that_began_before_the_body_was_written_ends_the_connection() -> None:
    begun = asyncio.Event()
    size = 16 * MEGABYTE

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nearly")
        await begun.wait()
        await reader.readexactly(size)
        writer.write(b" late")
        await writer.drain()

    async with listening(serve) as url:
        connections = Connections(urlsplit(url), [])
        response = await send(Upstream(connections), b"x" * size)
        begun.set()
        assert await read_all(response) == b"early late"
        assert not [*connections._free, *connections._of_account]
        await connections.close()


async def test_an_upstream_that_hangs_up_within_a_large_body_is_no_answer() -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with listening(serve) as url:
        connections = Connections(urlsplit(url), [])
        with pytest.raises(UpstreamUnavailable):
            await send(Upstream(connections), b"x" * 16 * MEGABYTE)
        await connections.close()


# --- compressed bodies --------------------------------------------------------------------------

TEXT = b"tokens " * 1000


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def br_upon_zstd(data: bytes) -> bytes:
    return br(zstd.compress(data))


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("X-Gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", br),
        ("zstd", zstd.compress),
        ("zstd, br", br_upon_zstd),
    ],
    ids=["gzip", "x-gzip", "deflate", "deflate without a head", "br", "zstd", "zstd in br"],
)
async def test_a_compressed_answer_is_decoded_although_it_comes_in_small_pieces(
    sending: Upstream,
    upstream: ScriptedUpstream,
    coding: str,
    compress: Callable[[bytes], bytes],
) -> None:
    data = compress(TEXT)
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    upstream.script(Response(headers=[("content-encoding", coding)], body=pieces))
    response = await send(sending)
    assert response.readable
    assert b"content-encoding" not in dict(response.headers)
    assert await read_all(response) == TEXT


async def test_what_cannot_be_decoded_is_passed_on_as_it_is_and_said_to_be_unreadable(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(headers=[("content-encoding", "compress")], body=b"\x1f\x9d\x90"))
    response = await send(sending)
    assert (response.readable, await read_all(response)) == (False, b"\x1f\x9d\x90")
    assert dict(response.headers)[b"content-encoding"] == b"compress"


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br"])
async def test_what_is_not_what_it_is_said_to_be_is_broken(
    sending: Upstream, upstream: ScriptedUpstream, coding: str
) -> None:
    upstream.script(Response(headers=[("content-encoding", coding)], body=b"none of them at all"))
    with pytest.raises(UpstreamBroke):
        await ask(sending)


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("zstd", zstd.compress), ("br", br)],
)
async def test_a_few_bytes_that_unfold_into_many_are_given_in_parts(
    sending: Upstream, upstream: ScriptedUpstream, coding: str, compress: Callable[[bytes], bytes]
) -> None:
    size = 32 * MEGABYTE
    upstream.script(Response(headers=[("content-encoding", coding)], body=compress(bytes(size))))
    response = await send(sending)
    total = 0
    while piece := await response.read():
        assert len(piece) <= 2 * DECODED_BYTES_MAX
        total += len(piece)
    assert total == size
