"""What happens on one connection over time, on a clock of the test's own and without a socket."""

from __future__ import annotations

import asyncio
import sys
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from typing_extensions import override
from uvicorn.server import ServerState

from tokenbalance.wire.server.descriptors import Descriptors
from tokenbalance.wire.server.protocol import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Message, Receive, Scope, Send

KEEP_ALIVE_S = 75
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Wire(asyncio.Transport):
    """Remembers what was written, and whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False
        self.is_paused = False

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    @override
    def close(self) -> None:
        self.is_closed = True

    @override
    def is_closing(self) -> bool:
        return self.is_closed

    @override
    def pause_reading(self) -> None:
        self.is_paused = True

    @override
    def resume_reading(self) -> None:
        self.is_paused = False


class Timer:
    """One call to come."""

    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s = at_s
        self.call = call
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True
        del self.call  # as a loop's timers do


class Clock:
    """The loop's clock, which goes as the test wants."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now_s + delay_s, call))
        return self.timers[-1]

    def create_task(self, run: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(run)

    def go_to(self, now_s: float) -> None:
        self.now_s = now_s
        for timer in self.timers:
            if timer.at_s <= now_s and not timer.is_over:
                timer.is_over = True
                timer.call()

    @property
    def pending(self) -> int:
        return sum(not timer.is_over for timer in self.timers)


@dataclass
class Served:
    """A connection to an application that responds when the test lets it."""

    loaded_app: Callable[[Scope, Receive, Send], Coroutine[None, None, None]] = field(init=False)
    timeout_keep_alive: int = KEEP_ALIVE_S
    descriptors: Descriptors = field(default_factory=lambda: Descriptors(sys.maxsize))
    clock: Clock = field(default_factory=Clock)
    wire: Wire = field(default_factory=Wire)
    state: ServerState = field(default_factory=ServerState)
    received: list[Message] = field(default_factory=list)
    status: int = 200

    def __post_init__(self) -> None:
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self.loaded_app = self.respond

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.received.append(await receive())
        _ = await self.may_respond.wait()
        headers = [(b"content-length", b"1"), (b"x-path", scope["raw_path"])]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x", "more_body": False})

    def connect(self) -> HttpProtocol:
        loop = cast("asyncio.AbstractEventLoop", cast("object", self.clock))
        connection = HttpProtocol(self, self.state, {}, loop)
        connection.connection_made(self.wire)
        return connection

    async def all_responded(self) -> None:
        while self.state.tasks:
            _ = await asyncio.wait(self.state.tasks)
            await asyncio.sleep(0)


async def test_an_idle_connection_is_closed_when_its_time_is_over() -> None:
    served = Served()
    connection = served.connect()
    for now_s in (0, 10, 20):
        served.clock.go_to(now_s)
        connection.data_received(GET)
        await served.all_responded()
    served.clock.go_to(20 + KEEP_ALIVE_S - 1)
    assert not served.wire.is_closed
    served.clock.go_to(20 + KEEP_ALIVE_S)
    assert served.wire.is_closed


async def test_a_client_that_was_only_refused_waits_as_long_as_a_head_may_take() -> None:
    served = Served()
    served.status = 401
    connection = served.connect()
    connection.data_received(GET)
    await served.all_responded()
    served.clock.go_to(HttpProtocol.head_timeout_s - 1)
    assert not served.wire.is_closed
    served.clock.go_to(HttpProtocol.head_timeout_s)
    assert served.wire.is_closed


async def test_a_client_that_is_served_after_a_refusal_waits_as_long_as_any() -> None:
    served = Served()
    served.status = 401
    connection = served.connect()
    connection.data_received(GET)
    await served.all_responded()
    served.status = 200
    connection.data_received(GET)
    await served.all_responded()
    served.clock.go_to(KEEP_ALIVE_S - 1)
    assert not served.wire.is_closed
    served.clock.go_to(KEEP_ALIVE_S)
    assert served.wire.is_closed


async def test_one_timer_looks_after_a_connection_however_many_requests_it_carries() -> None:
    served = Served()
    connection = served.connect()
    for _ in range(20):
        connection.data_received(GET)
        await served.all_responded()
    assert served.clock.pending == 1


async def test_a_busy_connection_is_not_closed_by_the_time_for_idle_ones() -> None:
    served = Served()
    connection = served.connect()
    connection.data_received(GET)
    await served.all_responded()
    served.may_respond.clear()
    connection.data_received(GET)
    served.clock.go_to(2 * KEEP_ALIVE_S)
    assert not served.wire.is_closed
    served.may_respond.set()
    await served.all_responded()
    served.clock.go_to(3 * KEEP_ALIVE_S - 1)
    assert not served.wire.is_closed
    served.clock.go_to(3 * KEEP_ALIVE_S)
    assert served.wire.is_closed


@pytest.mark.parametrize("is_busy", [False, True])
async def test_a_lost_connection_is_freed_at_once_and_leaves_no_timer(is_busy: bool) -> None:
    served = Served()
    connection = served.connect()
    if is_busy:
        served.may_respond.clear()
    connection.data_received(GET)
    if not is_busy:
        await served.all_responded()
    connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
    connection.connection_lost(None)
    served.may_respond.set()
    await served.all_responded()
    assert served.clock.pending == 0
    served.clock.timers.clear()
    freed = weakref.ref(connection)
    del connection
    assert freed() is None


async def test_a_response_has_the_date_of_its_own_beginning() -> None:
    served = Served()
    served.may_respond.clear()
    served.connect().data_received(GET)
    served.state.default_headers = [(b"date", b"later")]
    served.may_respond.set()
    await served.all_responded()
    assert b"\r\ndate: later\r\n" in served.wire.written


async def test_what_has_arrived_before_a_shutdown_is_answered_and_the_last_one_closes() -> None:
    served = Served()
    served.may_respond.clear()
    connection = served.connect()
    connection.data_received(GET * 3)
    connection.shutdown()
    served.may_respond.set()
    await served.all_responded()
    responses = served.wire.written.split(b"HTTP/1.1 ")[1:]
    assert [b"connection: close" in response for response in responses] == [False, False, True]
    assert served.wire.is_closed


async def test_an_idle_connection_is_closed_by_a_shutdown_at_once() -> None:
    served = Served()
    connection = served.connect()
    connection.data_received(GET)
    await served.all_responded()
    connection.shutdown()
    assert served.wire.is_closed


async def test_pieces_of_a_body_that_came_together_are_received_together() -> None:
    served = Served()
    connection = served.connect()
    connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab")
    connection.data_received(b"cd")
    connection.data_received(b"ef")
    await served.all_responded()
    assert served.received == [{"type": "http.request", "body": b"abcdef", "more_body": False}]


async def test_a_body_that_nobody_receives_is_not_read_without_end() -> None:
    served = Served()
    connection = served.connect()
    connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
    for _ in range(3):
        connection.data_received(b"x" * 30_000)
    assert served.wire.is_paused
    await asyncio.sleep(0)
    assert not served.wire.is_paused
    connection.connection_lost(None)
    await served.all_responded()


async def test_everybody_who_waits_for_a_message_hears_that_the_client_is_gone() -> None:
    served = Served()
    heard: list[str] = []

    async def wait_twice(_scope: Scope, receive: Receive, _send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        messages = await asyncio.gather(receive(), receive())
        heard.extend(message["type"] for message in messages)

    served.loaded_app = wait_twice
    connection = served.connect()
    connection.data_received(GET)
    for _ in range(3):
        await asyncio.sleep(0)
    connection.connection_lost(ConnectionResetError())
    await served.all_responded()
    assert heard == ["http.disconnect"] * 2


async def test_an_application_that_fails_costs_its_client_a_500() -> None:
    served = Served()

    async def fail(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"x-bad", b"a\r\nb")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    served.loaded_app = fail
    served.connect().data_received(GET)
    await served.all_responded()
    assert served.wire.written.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert served.wire.written.endswith(b"\r\n\r\nInternal Server Error")
    assert served.wire.is_closed
