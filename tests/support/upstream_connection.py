"""A scripted upstream's connections: they read requests, and write responses by hand.

So a response may be wrong on the wire as well: cut short, reset, malformed.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from dataclasses import dataclass, field
from http import client
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import orjson

from tests.support.responses import Framing, Gate, Part, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from starlette.types import ASGIApp, Message


HEAD_LIMIT_BYTES = 1024 * 1024


class Outcome(enum.Enum):
    """How the answer to a request ended."""

    OPEN = "open"
    COMPLETED = "completed"
    CUT = "cut, as scripted"
    DISCONNECTED = "the client closed the connection first"


@dataclass
class Received:
    """A request as it arrived, and what became of its answer."""

    number: int
    """Counted from 0, in order of arrival, over all connections."""
    connection: int
    method: str
    target: bytes
    """The raw path and query, not decoded."""
    headers: list[tuple[bytes, bytes]]
    """In order, names as they were sent."""
    body: bytes = b""
    outcome: Outcome = Outcome.OPEN
    bytes_sent: int = 0
    """Of the answer's body, so far."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        wanted = name.lower().encode()
        values = (value for key, value in self.headers if key.lower() == wanted)
        return next((value.decode("latin-1") for value in values), None)

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


class ClientLeftError(Exception):
    """The client closed the connection while it was being answered."""


class Protocol(asyncio.StreamReaderProtocol):
    """Tells at once when the client leaves, even while nobody reads or writes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        connected: Callable[[Protocol, asyncio.StreamReader], None],
    ) -> None:
        super().__init__(reader)
        self.gone = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self._reader_of_ours = reader
        self._tell_connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._tell_connected(self, self._reader_of_ours)

    def eof_received(self) -> bool:
        self.gone.set()
        super().eof_received()
        # Ours to close, after whoever answers has noticed.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class Connection:
    """Reads requests from one connection and writes answers to it."""

    def __init__(self, number: int, protocol: Protocol, reader: asyncio.StreamReader) -> None:
        assert protocol.transport is not None
        self._number = number
        self._gone = protocol.gone
        self._reader = reader
        self._transport = protocol.transport
        loop = asyncio.get_running_loop()
        self._writer = asyncio.StreamWriter(protocol.transport, protocol, reader, loop)

    def abort(self) -> None:
        """Drop the connection, if it is still there."""
        self._transport.abort()

    async def read_request(self, number: int) -> Received | None:
        """The next request; None when the client has no more."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        request_line, *lines = head[:-4].split(b"\r\n")
        method, target, _version = request_line.split(b" ")
        headers = [
            (name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ]
        request = Received(number, self._number, method.decode(), target, headers)
        if (request.header("expect") or "").lower() == "100-continue":
            await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = await self._read_body(request)
        return request

    async def _read_body(self, request: Received) -> bytes:
        if (request.header("transfer-encoding") or "").lower() == "chunked":
            return b"".join([chunk async for chunk in self._read_chunks()])
        return await self._reader.readexactly(int(request.header("content-length") or 0))

    async def _read_chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass

    async def write_response(self, response: Response, request: Received) -> tuple[Outcome, bool]:
        """Write it as scripted: how it ended, and whether the connection goes on."""
        if response.head_gate is not None:
            await self._unless_gone(response.head_gate.pass_through())
        if response.raw is not None:
            await self._write_raw(response.raw)
            return Outcome.COMPLETED, False
        await self._write(_head(response))
        if response.cut_after == 0 or not await self._write_body(response, request):
            await self._cut(response)
            return Outcome.CUT, False
        return Outcome.COMPLETED, await self._finish(response, request)

    async def _finish(self, response: Response, request: Received) -> bool:
        if response.framed is Framing.CHUNKED:
            request.outcome = Outcome.COMPLETED
            await self._write(b"0\r\n\r\n")
        if response.close or response.framed is Framing.CLOSE:
            await self._close()
            return False
        return True

    async def _write_body(self, response: Response, request: Received) -> bool:
        """False when the body was cut."""
        chunked = response.framed is Framing.CHUNKED
        for number, part in enumerate(response.parts, start=1):
            if not isinstance(part, bytes):
                await self._wait(part)
                continue
            left = None if response.cut_after is None else response.cut_after - request.bytes_sent
            kept = part if left is None else part[:left]
            if number == len(response.parts) and left is None and not chunked:
                # Before the write, since whoever has read it all may look at once.
                request.outcome = Outcome.COMPLETED
            if kept:
                request.bytes_sent += len(kept)
                await self._write(_chunk(kept) if chunked else kept)
            if left is not None and len(part) >= left:
                return False
        return True

    async def _write_raw(self, raw: bytes | Sequence[Part]) -> None:
        for part in [raw] if isinstance(raw, bytes) else raw:
            await (self._write(part) if isinstance(part, bytes) else self._wait(part))
        await self._close()

    async def respond_with(self, app: ASGIApp, request: Received) -> tuple[Outcome, bool]:
        """Let an ASGI app answer."""
        bridge = _Bridge(self, request)
        await app(_scope(request), bridge.receive, bridge.send)
        return (Outcome.COMPLETED, True) if bridge.complete else (Outcome.CUT, False)

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        await self._gone.wait()

    async def send(self, data: bytes) -> None:
        """Write what an app sends."""
        await self._write(data)

    async def _wait(self, part: Gate | float) -> None:
        waiting = part.pass_through() if isinstance(part, Gate) else asyncio.sleep(part)
        await self._unless_gone(waiting)

    async def _write(self, data: bytes) -> None:
        if self._gone.is_set():
            raise ClientLeftError
        self._writer.write(data)
        if self._transport.get_write_buffer_size():
            await self._unless_gone(self._writer.drain())
        else:
            # One turn of the loop, so that a client in it reads the parts one by one.
            await asyncio.sleep(0)

    async def _unless_gone(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Await something, but not beyond the client's leaving."""
        work = asyncio.ensure_future(waiting)
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientLeftError
            work.result()
        finally:
            work.cancel()
            gone.cancel()

    async def _close(self) -> None:
        """Close in an orderly way, once everything is written."""
        self._transport.close()
        await self._gone.wait()

    async def _cut(self, response: Response) -> None:
        if not response.reset:
            await self._close()
            return
        # Lingering for no time is what turns a close into a reset.
        linger = struct.pack("ii", 1, 0)
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()


class _Bridge:
    """An ASGI app's `receive` and `send`, on one connection."""

    def __init__(self, connection: Connection, request: Received) -> None:
        self.complete = False
        self._connection = connection
        self._request = request
        self._body_given = False
        self._head: Message = {}
        self._framing = Framing.CHUNKED

    async def receive(self) -> Message:
        if not self._body_given:
            self._body_given = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self._connection.wait_gone()
        raise ClientLeftError

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send_head(message)
            return
        chunked = self._framing is Framing.CHUNKED
        self.complete = not message.get("more_body", False)
        if self.complete:
            self._request.outcome = Outcome.COMPLETED
        if data := message.get("body", b""):
            self._request.bytes_sent += len(data)
            await self._connection.send(_chunk(data) if chunked else data)
        if self.complete and chunked:
            await self._connection.send(b"0\r\n\r\n")

    async def _send_head(self, message: Message) -> None:
        headers: list[tuple[bytes, bytes]] = list(message["headers"])
        if any(name == b"content-length" for name, _ in headers):
            self._framing = Framing.LENGTH
        else:
            headers.append((b"transfer-encoding", b"chunked"))
        await self._connection.send(_head_bytes(message["status"], headers))


def _scope(request: Received) -> dict[str, Any]:
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method,
        "path": unquote_to_bytes(path).decode(),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers],
    }


def _head(response: Response) -> bytes:
    headers = [(_bytes(name), _bytes(value)) for name, value in response.headers]
    match response.framed:
        case Framing.LENGTH:
            length = sum(len(part) for part in response.parts if isinstance(part, bytes))
            headers.append((b"content-length", b"%d" % length))
        case Framing.CHUNKED:
            headers.append((b"transfer-encoding", b"chunked"))
        case Framing.CLOSE | Framing.NONE:
            pass
    if response.close or response.framed is Framing.CLOSE:
        headers.append((b"connection", b"close"))
    return _head_bytes(response.status, headers)


def _head_bytes(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    status_line = f"HTTP/1.1 {status} {client.responses.get(status, 'Unknown')}".encode()
    return b"\r\n".join([status_line, *(b"%b: %b" % header for header in headers), b"", b""])


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
