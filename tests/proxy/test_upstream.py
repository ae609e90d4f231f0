"""Connections to the upstream over real sockets: when they are kept, used again, and given up."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.compression import br, zstd
from tests.support.tls import certificate_file, server_context
from tests.support.upstream import Framing, Gate, Response, ScriptedUpstream
from tokenbalance.errors import UpstreamTimeout, UpstreamUnavailable
from tokenbalance.wire.upstream import Upstream, UpstreamAddress, UpstreamBroke, open_upstream
from tokenbalance.wire.upstream.connections import Connections
from tokenbalance.wire.upstream.decoding import DECODED_BYTES_MAX
from tokenbalance.wire.upstream.incoming import UNREAD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tokenbalance.wire.upstream import UpstreamResponse
    from tokenbalance.wire.upstream.dialing import Dialer

READ_BYTES = 256 * 1024
"""What the event loop reads at once, at most."""
MEGABYTE = 1024 * 1024


@pytest.fixture
async def sending(upstream: ScriptedUpstream) -> AsyncIterator[Upstream]:
    async with open_upstream(UpstreamAddress(base_url=upstream.base_url, api_key="sk")) as sending:
        yield sending


@pytest.fixture
def connections(sending: Upstream) -> Connections:
    client = sending._client
    assert isinstance(client, Connections)
    return client


async def send(sending: Upstream, body: bytes = b"{}", method: str = "POST") -> UpstreamResponse:
    return await sending.send(method, "/chat/completions", [], body)


async def read_all(response: UpstreamResponse) -> bytes:
    pieces: list[bytes] = []
    while piece := await response.read():
        pieces.append(piece)
    await response.close()
    return b"".join(pieces)


async def ask(sending: Upstream, body: bytes = b"{}", method: str = "POST") -> bytes:
    return await read_all(await send(sending, body, method))


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until it holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options: Any
) -> AsyncGenerator[str]:
    """An upstream written by hand; its base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(connected(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, **options)
    scheme = "https" if "ssl" in options else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- connections that are kept ------------------------------------------------------------------


async def test_a_connection_is_used_again_and_the_one_that_was_free_last_comes_first(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    gates = [Gate(), Gate()]
    upstream.script(*[Response(head_gate=gate) for gate in gates])
    asking: list[asyncio.Task[bytes]] = []
    for count, gate in enumerate(gates, start=1):
        asking.append(asyncio.create_task(ask(sending)))
        await upstream.received(count)
        await gate.reached.wait()
    for gate, task in zip(gates, asking, strict=True):
        gate.open()
        await task
    for _ in range(3):
        await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1, 1, 1, 1]


async def test_a_connection_is_free_as_soon_as_its_answer_has_arrived_although_nobody_read_it(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=b"first"), Response(body=b"second"))
    first = await send(sending)
    second = await send(sending)
    # Closing the first must not end what its connection carries now.
    await first.close()
    assert await read_all(second) == b"second"
    assert await read_all(first) == b"first"
    assert [request.connection for request in upstream.requests] == [0, 0]


@pytest.mark.parametrize(
    "response",
    [
        Response(headers=[("connection", "close")]),
        Response(framing=Framing.CLOSE),
        Response(body=b"x" * 9, cut_after=5),
        Response(raw=b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
    ],
    ids=["closing", "until it closes", "cut", "HTTP/1.0"],
)
async def test_a_connection_that_will_close_is_not_used_again(
    sending: Upstream, upstream: ScriptedUpstream, response: Response
) -> None:
    upstream.script(response)
    with suppress(UpstreamBroke):
        await ask(sending)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


async def test_a_connection_that_was_closed_while_idle_is_not_used(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    upstream.script(Response(close=True))
    await ask(sending)
    await until(lambda: not connections._open)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


async def test_a_connection_that_speaks_while_idle_is_not_used(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    gate = Gate()
    upstream.script(
        Response(raw=[b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", gate, b"HTTP"])
    )
    await ask(sending)
    gate.open()
    await until(lambda: not connections._open)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


async def test_a_connection_that_was_idle_for_long_is_closed(
    sending: Upstream, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(sending)
    assert connections._open
    monkeypatch.setattr("tokenbalance.wire.upstream.connections.KEEPALIVE_S", 0.0)
    await until(lambda: not connections._open)
    assert connections._free == []


@pytest.mark.parametrize(("method", "is_sent_again"), [("POST", False), ("GET", True)])
async def test_only_what_changes_nothing_is_sent_again_when_a_kept_connection_dies(
    sending: Upstream, upstream: ScriptedUpstream, method: str, is_sent_again: bool
) -> None:
    upstream.script(Response(), Response(raw=b""), Response(body=b"again"))
    await ask(sending)
    if is_sent_again:
        assert await ask(sending, b"", method) == b"again"
    else:
        with pytest.raises(UpstreamUnavailable):
            await ask(sending, b"", method)
    assert len(upstream.requests) == 2 + is_sent_again


async def test_a_request_on_a_new_connection_is_sent_once_whatever_it_is(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(raw=b""))
    with pytest.raises(UpstreamUnavailable):
        await ask(sending, b"", "GET")
    assert len(upstream.requests) == 1


async def test_leaving_closes_what_is_idle_and_breaks_what_is_not(
    upstream: ScriptedUpstream,
) -> None:
    gate = Gate()
    upstream.script(Response(body=[b"begun", gate]), Response())
    async with open_upstream(UpstreamAddress(base_url=upstream.base_url, api_key="k")) as sending:
        response = await send(sending)
        await ask(sending)
    assert await response.read() == b"begun"
    with pytest.raises(UpstreamBroke):
        await response.read()
    await upstream.until(lambda: len(upstream.disconnected) == 1)


# --- what is given up ---------------------------------------------------------------------------


async def test_who_is_cancelled_before_the_head_closes_the_connection(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    upstream.script(Response(head_gate=Gate()))
    asking = asyncio.create_task(ask(sending))
    await upstream.received()
    asking.cancel()
    await asyncio.wait([asking])
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    assert not connections._free


async def test_an_answer_that_is_closed_before_its_end_closes_the_connection(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=[b"begun", Gate()]))
    response = await send(sending)
    assert await response.read() == b"begun"
    await response.close()
    await upstream.until(lambda: len(upstream.disconnected) == 1)
    await ask(sending)
    assert [request.connection for request in upstream.requests] == [0, 1]


# --- what is read -------------------------------------------------------------------------------


async def test_one_read_gives_all_that_has_arrived(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    gate = Gate()
    upstream.script(Response(body=[b"one ", b"two ", b"three", gate, b"four"]))
    response = await send(sending)
    (connection,) = connections._open
    incoming = connection._response
    assert incoming is not None
    await until(lambda: incoming._reader.unread_bytes == len("one two three"))
    assert await response.read() == b"one two three"
    gate.open()
    assert await response.read() == b"four"
    assert await response.read() == b""
    assert await response.read() == b""


async def test_what_had_arrived_before_a_break_is_given_first(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=b"x" * 9, cut_after=5))
    response = await send(sending)
    await upstream.until(upstream.requests[0].ended.is_set)
    assert await response.read() == b"xxxxx"
    for _ in range(2):
        with pytest.raises(UpstreamBroke):
            await response.read()


async def test_what_came_in_one_read_with_the_head_and_the_break_is_given_first(
    sending: Upstream, upstream: ScriptedUpstream
) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.script(Response(raw=head + b"5\r\nbegun\r\nzz\r\n"))
    response = await send(sending)
    assert await response.read() == b"begun"
    with pytest.raises(UpstreamBroke):
        _ = await response.read()


async def test_an_answer_that_nobody_reads_is_not_read_ahead_without_bound(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    size = 64 * MEGABYTE
    upstream.script(Response(body=b"x" * size))
    response = await send(sending)
    (connection,) = connections._open
    incoming = connection._response
    assert incoming is not None
    await until(lambda: connection._is_paused)
    assert incoming._reader.unread_bytes <= UNREAD_BYTES_MAX + READ_BYTES
    # However long the client takes, that is no silence of the upstream's.
    connection.look_at_clock(-1.0)
    assert len(await read_all(response)) == size


async def test_an_upstream_that_is_silent_while_somebody_waits_breaks_its_answer(
    sending: Upstream, upstream: ScriptedUpstream, connections: Connections
) -> None:
    upstream.script(Response(body=[b"begun", Gate()]))
    response = await send(sending)
    assert await response.read() == b"begun"
    reading = asyncio.create_task(read_all(response))
    (connection,) = connections._open
    incoming = connection._response
    assert incoming is not None
    await until(lambda: incoming.waits_since_s)
    connection.look_at_clock(600.0)
    assert not reading.done()
    connection.look_at_clock(-1.0)
    with pytest.raises(UpstreamBroke):
        await reading


async def test_an_answer_to_head_has_no_body(sending: Upstream, upstream: ScriptedUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"
    upstream.script(Response(raw=[head, Gate()]))
    response = await send(sending, b"", "HEAD")
    assert (response.status, await read_all(response)) == (200, b"")


# --- what is written ----------------------------------------------------------------------------


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
        assert not connections._free
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
        assert not connections._free
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


# --- the way there ------------------------------------------------------------------------------


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
