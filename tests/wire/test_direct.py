"""Requests that are responded to directly: as through ASGI, by a shorter way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from tests.wire.test_http_cycle import Connection, Wire
from tokenbalance.errors import RequestTooLarge
from tokenbalance.wire.client.request import ClientGone, ClientRequest
from tokenbalance.wire.client.response import DirectResponse
from tokenbalance.wire.server.direct import DirectTurn, Entrance
from tokenbalance.wire.server.framing import RequestReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from uvicorn._types import ASGI3Application

PEER = ("10.0.0.1", 1234)


class OpenWire(Wire):
    """Is never closed."""

    def is_closing(self) -> bool:
        return False


@dataclass
class Exchange:
    """One request on a connection, as the protocol makes it."""

    wire: Wire = field(default_factory=OpenWire)
    entrance: Entrance = field(init=False)
    turn: DirectTurn = field(init=False)

    def __post_init__(self) -> None:
        app = cast("ASGI3Application", lambda: None)
        self.entrance = Entrance(app, "10.0.0.0/8")
        self.reader = RequestReader(self.begin)

    def begin(self) -> DirectTurn:
        connection = Connection(self.wire)
        self.turn = DirectTurn(connection, self.reader, self.respond, self.entrance, PEER)
        return self.turn

    def respond(self, turn: DirectTurn) -> Awaitable[None]:
        del turn
        raise NotImplementedError

    def arrives(
        self, head: bytes, body: bytes = b"", *, length: int | None = None
    ) -> ClientRequest:
        size = len(body) if length is None else length
        request = b"POST /v1/chat?a=b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b"
        self.reader.feed(request % (head, size, body))
        turn = self.turn
        return ClientRequest(turn.method, turn.raw_path, turn.query, turn.headers, turn)


def test_a_request_is_split_as_it_was_sent() -> None:
    request = Exchange().arrives(b"")
    assert (request.method, request.raw_path, request.query) == ("POST", b"/v1/chat", b"a=b")


async def test_a_body_that_is_here_is_taken_without_a_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(asyncio, "timeout_at")
    kept: list[int] = []
    assert await Exchange().arrives(b"", b"body").read_body(4, keep=kept.append) == b"body"
    assert kept == [4]


async def test_a_body_that_is_not_here_whole_is_waited_for() -> None:
    exchange = Exchange()
    request = exchange.arrives(b"", b"bo", length=4)
    reading = asyncio.create_task(request.read_body())
    await asyncio.sleep(0)
    exchange.reader.feed(b"dy")
    assert await reading == b"body"


async def test_a_client_that_has_left_has_sent_nothing() -> None:
    exchange = Exchange()
    request = exchange.arrives(b"", b"body")
    exchange.turn.disconnect()
    with pytest.raises(ClientGone):
        _ = await request.read_body()


async def test_a_body_that_is_here_may_be_too_long_or_find_no_room() -> None:
    with pytest.raises(RequestTooLarge):
        _ = await Exchange().arrives(b"", b"body").read_body(3)
    exchange = Exchange()
    exchange.reader.feed(
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    )
    turn = exchange.turn
    request = ClientRequest(turn.method, turn.raw_path, turn.query, turn.headers, turn)
    with pytest.raises(RequestTooLarge):
        _ = await request.read_body(3)


async def test_a_client_that_waits_for_continue_is_told_so_even_if_its_body_is_here() -> None:
    exchange = Exchange()
    request = exchange.arrives(b"expect: 100-continue\r\n", b"body")
    assert await request.read_body() == b"body"
    assert exchange.wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


async def test_after_its_body_a_request_waits_for_its_client_to_leave() -> None:
    exchange = Exchange()
    request = exchange.arrives(b"", b"body")
    _ = await request.read_body()
    leaving = asyncio.create_task(request.wait_for_disconnect())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not leaving.done()
    exchange.turn.disconnect()
    await leaving


@pytest.mark.parametrize(
    ("forwarded", "address"), [(b"", "10.0.0.1"), (b"x-forwarded-for: 8.8.8.8\r\n", "8.8.8.8")]
)
async def test_the_address_is_the_one_that_a_trusted_proxy_names(
    forwarded: bytes, address: str
) -> None:
    assert await Exchange().arrives(forwarded).address() == address


async def test_a_whole_response_leaves_in_one_write() -> None:
    exchange = Exchange()
    _ = exchange.arrives(b"")
    response = DirectResponse(exchange.turn)
    response.add_header(b"x-own", 7)
    await response.whole(200, [(b"x-its", b"1")], b"ok")
    head = b"HTTP/1.1 200 OK\r\ndate: today\r\nx-its: 1\r\nx-own: 7\r\ncontent-length: 2\r\n\r\n"
    assert exchange.wire.writes == [head + b"ok"]


async def test_nothing_is_written_at_once_while_the_client_does_not_read() -> None:
    exchange = Exchange()
    _ = exchange.arrives(b"")
    response = DirectResponse(exchange.turn)
    await response.start(200, [])
    exchange.turn._connection.flow.pause_writing()
    assert not response.write_now(b"one")
    waiting = asyncio.create_task(response.write(b"one"))
    await asyncio.sleep(0)
    assert len(exchange.wire.writes) == 1
    exchange.turn._connection.flow.resume_writing()
    await waiting
    assert response.write_now(b"two")
    assert exchange.wire.writes[1:] == [b"3\r\none\r\n", b"3\r\ntwo\r\n"]


async def test_what_a_client_has_left_behind_goes_nowhere() -> None:
    exchange = Exchange()
    _ = exchange.arrives(b"")
    response = DirectResponse(exchange.turn)
    exchange.turn.disconnect()
    await response.start(200, [])
    assert response.write_now(b"one")
    await response.end()
    assert exchange.wire.writes == []


def test_an_application_chooses_by_the_target_what_it_responds_to_directly() -> None:
    respond = Exchange().respond

    class App:
        def direct(self, target: bytes) -> Callable[[DirectTurn], Awaitable[None]] | None:
            return respond if target == b"/here" else None

    entrance = Entrance(cast("ASGI3Application", App()), "127.0.0.1")
    assert entrance.direct(b"/here") == respond
    assert entrance.direct(b"/there") is None
