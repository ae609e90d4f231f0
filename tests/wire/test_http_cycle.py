"""How a response is framed: one write for what goes together, and no header becomes two."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from uvicorn.server import ServerState

from tokenbalance.wire.server.cycle import Cycle
from tokenbalance.wire.server.flow import FlowControl

if TYPE_CHECKING:
    from tokenbalance.wire.server.turn import Turn

Headers = list[tuple[bytes, bytes]]


class Wire(asyncio.Transport):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"closed")


@dataclass
class Connection:
    """Carries one response."""

    transport: Wire
    server_state: ServerState = field(default_factory=ServerState)
    is_known: bool = False

    def __post_init__(self) -> None:
        self.flow = FlowControl(self.transport)
        self.server_state.default_headers = [(b"date", b"today")]

    def close_after(self, turn: Turn) -> None:
        assert turn.closes
        self.transport.close()

    def response_ended(self) -> None:
        self.server_state.total_requests += 1


def cycle_on(wire: Wire, method: str = "POST", version: str = "1.1") -> Cycle:
    scope = {"method": method, "http_version": version}
    cycle = Cycle(Connection(wire), scope, closes=False, expects_continue=False)
    cycle.feed_end()
    return cycle


async def response(cycle: Cycle, headers: Headers, *pieces: bytes) -> None:
    await cycle.send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await cycle.send({"type": "http.response.body", "body": piece, "more_body": True})
    await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_head_and_body_leave_in_one_write() -> None:
    wire = Wire()
    cycle = cycle_on(wire)
    await cycle.send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await cycle.send({"type": "http.response.body", "body": b"ok", "more_body": False})
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\nok"]


async def test_an_empty_piece_sends_the_head_of_a_stream_at_once() -> None:
    wire = Wire()
    await response(cycle_on(wire), [], b"", b"one")
    head, *rest = wire.writes
    assert head.endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert rest == [b"3\r\none\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize("stray", [b"\r\nset-cookie: x=1", b"\n", b"\r", b"\0"])
@pytest.mark.parametrize("place", [0, 1])
async def test_no_header_becomes_two(stray: bytes, place: int) -> None:
    header = [b"x-name", b"value"]
    header[place] += stray
    wire = Wire()
    with pytest.raises(RuntimeError):
        await response(cycle_on(wire), [(header[0], header[1])])
    assert not wire.writes


@pytest.mark.parametrize("pieces", [[b"longer"], [b"l"]])
async def test_a_length_that_is_not_kept_is_a_fault(pieces: list[bytes]) -> None:
    with pytest.raises(RuntimeError):
        await response(cycle_on(Wire()), [(b"content-length", b"3")], *pieces)


async def test_close_is_said_once_and_done() -> None:
    wire = Wire()
    await response(cycle_on(wire), [(b"connection", b"close")], b"x")
    assert wire.writes[0].count(b"close") == 1
    assert wire.writes[-1] == b"closed"


async def test_the_response_to_head_has_no_body() -> None:
    wire = Wire()
    await response(cycle_on(wire, "HEAD"), [(b"content-length", b"3")], b"abc")
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 3\r\n\r\n"]


async def test_http_1_0_gets_no_chunks_but_the_end_of_the_connection() -> None:
    wire = Wire()
    await response(cycle_on(wire, version="1.0"), [], b"one", b"two")
    *written, closed = wire.writes
    head, _, body = b"".join(written).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert (body, closed) == (b"onetwo", b"closed")
