"""The fault proxy does what it is told, so that what is built on it means something."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.fault_proxy import (
    Direction,
    FaultProxy,
    database_target,
    dsn_through,
    url_target,
    url_through,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

DEADLINE_S = 10.0


class EchoServer:
    """Answers every byte with itself, and keeps what it received."""

    def __init__(self) -> None:
        self.received = b""
        self.heard = asyncio.Condition()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def until_heard(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE_S), self.heard:
            await self.heard.wait_for(lambda: self.received.endswith(data))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received += data
                async with self.heard:
                    self.heard.notify_all()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def proxy(echo: EchoServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(("127.0.0.1", echo.port)) as proxy:
        yield proxy


class Client:
    """One connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.readexactly(len(data))

    async def piece(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            piece = await self._reader.read(65536)
        assert piece, "the connection ended"
        return piece

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.read()

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncGenerator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    try:
        yield client
    finally:
        client.close()


async def test_bytes_pass_unchanged_in_both_directions(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        data = bytes(range(256)) * 4000
        assert await client.ask(data) == data
    assert proxy.accepted == 1


async def test_a_client_that_ends_its_side_ends_the_servers(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        client.send(b"last words")
        client._writer.write_eof()
        assert await client.rest() == b"last words"


async def test_a_server_that_is_not_there_is_a_connection_that_ends(echo: EchoServer) -> None:
    port = echo.port
    echo.stop()
    async with FaultProxy(("127.0.0.1", port)) as proxy, connected(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_cut_closes_connections_and_refuses_new_ones(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        await client.ask(b"hello")
        proxy.cut()
        assert await client.rest() == b""
        assert proxy.open_connections == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.heal()
    async with connected(proxy) as client:
        assert await client.ask(b"again") == b"again"


async def test_reset_resets_connections_and_new_ones(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        await client.ask(b"hello")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await client.rest()
    async with connected(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await client.rest()
    proxy.heal()
    async with connected(proxy) as client:
        assert await client.ask(b"again") == b"again"


async def test_a_black_hole_keeps_connections_and_passes_nothing_until_healed(
    proxy: FaultProxy, echo: EchoServer
) -> None:
    async with connected(proxy) as old:
        await old.ask(b"hello")
        proxy.black_hole()
        async with connected(proxy) as new:
            old.send(b"old")
            new.send(b"new")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(new._reader.read(1), 0.1)
            assert echo.received == b"hello"
            proxy.heal()
            assert await old.piece() == b"old"
            assert await new.piece() == b"new"


async def test_a_black_hole_of_answers_lets_requests_pass(
    proxy: FaultProxy, echo: EchoServer
) -> None:
    proxy.black_hole(Direction.TO_CLIENT)
    async with connected(proxy) as client:
        client.send(b"hello")
        await echo.until_heard(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client._reader.read(1), 0.1)
        proxy.heal()
        assert await client.piece() == b"hello"


async def test_dropped_answers_are_lost_and_healing_resets_who_lost_one(
    proxy: FaultProxy, echo: EchoServer
) -> None:
    async with connected(proxy) as unlucky, connected(proxy) as idle:
        await idle.ask(b"hello")
        proxy.drop_responses()
        unlucky.send(b"commit")
        await echo.until_heard(b"commit")
        await asyncio.wait_for(proxy.dropped.wait(), DEADLINE_S)
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            await unlucky.rest()
        assert await idle.ask(b"fine") == b"fine"


async def test_latency_holds_every_piece(proxy: FaultProxy) -> None:
    loop = asyncio.get_running_loop()
    async with connected(proxy) as client:
        proxy.delay(0.05)
        began = loop.time()
        assert await client.ask(b"there and back") == b"there and back"
        # A lower bound: a slow machine cannot break it.
        assert loop.time() - began >= 0.09


async def test_a_slice_is_what_arrives_at_once(proxy: FaultProxy) -> None:
    proxy.slice(3, Direction.TO_CLIENT)
    async with connected(proxy) as client:
        client.send(b"0123456789")
        pieces = [await client.piece()]
        while sum(map(len, pieces)) < 10:
            pieces.append(await client.piece())
        assert b"".join(pieces) == b"0123456789"
        assert len(pieces[0]) < 10


@pytest.mark.parametrize("after", [0, 1, 7, 10])
async def test_cut_after_passes_exactly_that_many_bytes_of_each_connections_answers(
    proxy: FaultProxy, after: int
) -> None:
    proxy.cut_after(after)
    for _ in range(2):
        async with connected(proxy) as client:
            client.send(b"0123456789")
            assert await client.rest() == b"0123456789"[:after]
    proxy.heal()
    async with connected(proxy) as client:
        assert await client.ask(b"again") == b"again"


async def test_cut_after_counts_from_when_it_was_said_and_may_reset(proxy: FaultProxy) -> None:
    async with connected(proxy) as client:
        await client.ask(b"not counted")
        proxy.cut_after(2, reset=True)
        client.send(b"counted")
        assert await client._reader.readexactly(2) == b"co"
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_leaving_ends_everything(echo: EchoServer) -> None:
    async with FaultProxy(("127.0.0.1", echo.port)) as proxy:
        client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
        await client.ask(b"hello")
        proxy.black_hole()
        client.send(b"held")
    with pytest.raises(ConnectionResetError):
        await client.rest()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_a_commit_whose_answer_is_lost_is_committed_all_the_same(dsn: str) -> None:
    async with FaultProxy(database_target(dsn)) as proxy:
        through = await asyncpg.connect(dsn_through(proxy, dsn))
        direct = await asyncpg.connect(dsn)
        try:
            await through.execute("CREATE TABLE marks (mark integer)")
            proxy.drop_responses()
            with pytest.raises(TimeoutError):
                await through.execute("INSERT INTO marks VALUES (1)", timeout=0.5)
            assert proxy.dropped.is_set()
            assert await direct.fetchval("SELECT mark FROM marks") == 1
        finally:
            through.terminate()
            await direct.close()


async def test_a_database_connection_outlives_a_black_hole(dsn: str) -> None:
    async with FaultProxy(database_target(dsn)) as proxy:
        connection = await asyncpg.connect(dsn_through(proxy, dsn))
        proxy.black_hole()
        asking = asyncio.create_task(connection.fetchval("SELECT 42"))
        with pytest.raises(TimeoutError):
            await asyncpg.connect(dsn_through(proxy, dsn), timeout=0.2)
        assert not asking.done()
        proxy.heal()
        assert await asyncio.wait_for(asking, DEADLINE_S) == 42
        await connection.close()


def test_addresses_lead_through_the_proxy() -> None:
    proxy = FaultProxy("/never/opened")
    proxy.port = 7
    local = "postgresql://pg@/books?host=%2Frun%2Fpg&port=5433"
    remote = "postgresql://me:secret@db.example:6000/books"
    assert database_target(local) == "/run/pg/.s.PGSQL.5433"
    assert database_target(remote) == ("db.example", 6000)
    assert dsn_through(proxy, local) == "postgresql://pg@127.0.0.1:7/books?sslmode=disable"
    assert dsn_through(proxy, remote) == "postgresql://me:secret@127.0.0.1:7/books?sslmode=disable"
    assert url_target("http://127.0.0.1:99/v1") == ("127.0.0.1", 99)
    assert url_through(proxy, "http://127.0.0.1:99/v1") == "http://127.0.0.1:7/v1"
