"""An upstream on a real socket that answers what a test tells it to, and remembers everything.

    async with ScriptedUpstream() as upstream:
        gate = Gate()
        upstream.script(Answer(body=[b"data: 1\\n\\n", gate, b"data: 2\\n\\n"]))
        ...                          # the proxy under test calls upstream.base_url
        await gate.reached.wait()    # the first chunk is out, the second is held back
        gate.open()

A request gets the next scripted answer; when none is left, the one given to `always`, and
without that the sandbox's. HTTP is written by hand here, so that answers may be wrong on the
wire as well: cut short, reset, malformed.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from http import client
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson

from tokenbalance.sandbox.app import create_sandbox

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

    from tests.support.recordings import Recording
    from tokenbalance.model import Json

HeaderList: TypeAlias = Sequence[tuple[str | bytes, str | bytes]]

_HEAD_LIMIT_BYTES = 1024 * 1024
_WAIT_S = 10.0


class Gate:
    """Holds an answer back until the test says go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        """Set when everything before the gate has been written."""
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let the answer go on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Wait at the gate."""
        self.reached.set()
        await self._opened.wait()


Part: TypeAlias = bytes | Gate | float
"""Of a body: bytes are written, a gate is waited at, a float is seconds of silence."""


class Framing(enum.Enum):
    """How the client learns where the body ends."""

    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "the connection closes"
    NONE = "no body at all, as for 204"


@dataclass(frozen=True)
class Response:
    """What one request gets."""

    status: int = 200
    headers: HeaderList = (("content-type", "application/json"),)
    body: bytes | Sequence[Part] = b"{}"
    framing: Framing | None = None
    """By default the length for bytes, and chunked for a list of parts."""
    head_gate: Gate | None = None
    """Holds even the status back."""
    cut_after: int | None = None
    """Drop the connection after that many bytes of body."""
    reset: bool = False
    """Cut with a TCP reset instead of an orderly close."""
    close: bool = False
    """Close the connection after the answer instead of keeping it alive."""
    raw: bytes | Sequence[Part] | None = None
    """Write this instead of any HTTP of ours, then close."""

    @property
    def parts(self) -> Sequence[Part]:
        """The body in order."""
        return [self.body] if isinstance(self.body, bytes) else self.body

    @property
    def framed(self) -> Framing:
        """The framing, decided."""
        if self.framing is not None:
            return self.framing
        return Framing.LENGTH if isinstance(self.body, bytes) else Framing.CHUNKED


def json_response(document: Json, status: int = 200) -> Response:
    """An answer of one JSON document."""
    return Response(status=status, body=orjson.dumps(document))


def event_stream(*parts: Part, headers: HeaderList = ()) -> Response:
    """An answer of server-sent events, one part after the other."""
    content_type = ("content-type", "text/event-stream; charset=utf-8")
    return Response(headers=(content_type, *headers), body=list(parts))


def replay(recording: Recording, split_at: Sequence[int] = ()) -> Response:
    """A recorded exchange's answer; `split_at` cuts its body into chunks at these positions."""
    body = recording.response_body
    edges = [0, *split_at, len(body)]
    parts = [body[start:end] for start, end in pairwise(edges)]
    return Response(
        status=recording.status,
        headers=tuple(recording.response_headers.items()),
        body=parts if split_at or recording.streamed else body,
    )


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


Script: TypeAlias = Response | Callable[[Received], Response]


class ScriptedUpstream:
    """The upstream. Start it with `async with`."""

    def __init__(self, fallback: ASGIApp | None = None) -> None:
        self.requests: list[Received] = []
        """Every request, in order of arrival."""
        self.fallback: ASGIApp = fallback or create_sandbox(pace_s=0.0)
        """Answers when nothing is scripted."""
        self.connections = 0
        """How many were opened so far."""
        self.errors: list[BaseException] = []
        """What failed in here and not in the proxy; leaving `async with` raises the first."""
        self._scripts: deque[Script] = deque()
        self._always: Script | None = None
        self._port = 0
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", self._port), backlog=2048)
        self._port = listener.getsockname()[1]
        self._server = await loop.create_server(self._new_protocol, sock=listener)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()
        if self.errors:
            raise self.errors[0]

    @property
    def base_url(self) -> str:
        """What goes into `OPENAI_BASE_URL`. The port stays the same after `stop`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def completed(self) -> list[Received]:
        """The requests whose answer was written to its end."""
        return self._with_outcome(Outcome.COMPLETED)

    @property
    def disconnected(self) -> list[Received]:
        """The requests whose client closed the connection before the answer's end."""
        return self._with_outcome(Outcome.DISCONNECTED)

    @property
    def open(self) -> list[Received]:
        """The requests that are being answered."""
        return self._with_outcome(Outcome.OPEN)

    def script(self, *responses: Script) -> None:
        """Answer the next requests with these, one each, in order."""
        self._scripts.extend(responses)

    def always(self, response: Script | None) -> None:
        """Answer every request that has no scripted answer with this; None: the sandbox again."""
        self._always = response

    def forget(self) -> None:
        """Begin anew: nothing was asked yet, and nothing is scripted.

        Raises:
            BaseException: the first failure in here, as at the end.
        """
        errors = [*self.errors]
        for kept in (self.requests, self.errors, self._scripts):
            kept.clear()
        self._always = None
        if errors:
            raise errors[0]

    async def until(self, condition: Callable[[], bool], timeout_s: float = _WAIT_S) -> None:
        """Wait until the condition holds; it is looked at when a request arrives or ends.

        Raises:
            TimeoutError: it never held.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def received(self, count: int = 1) -> Received:
        """Wait for that many requests, and return the last of them."""
        await self.until(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def stop(self) -> None:
        """Refuse new connections and drop the open ones; `start` again to come back."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def start(self) -> None:
        """Come back on the same port after `stop`."""
        await self.__aenter__()

    def _with_outcome(self, outcome: Outcome) -> list[Received]:
        return [request for request in self.requests if request.outcome is outcome]

    def _new_protocol(self) -> _Protocol:
        reader = asyncio.StreamReader(limit=_HEAD_LIMIT_BYTES)
        return _Protocol(reader, self._connected)

    def _connected(self, protocol: _Protocol, reader: asyncio.StreamReader) -> None:
        connection = _Connection(self.connections, protocol, reader)
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: _Connection) -> None:
        try:
            while request := await connection.read_request(len(self.requests)):
                # The number is taken only now: others may have arrived meanwhile.
                request.number = len(self.requests)
                self.requests.append(request)
                await self._tell()
                if not await self._respond(connection, request):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001 - raised when the test is over
            self.errors.append(error)
        finally:
            connection.abort()

    async def _respond(self, connection: _Connection, request: Received) -> bool:
        """Answer, note how it ended, and say whether the connection goes on."""
        try:
            script = self._next_script()
            if script is None:
                request.outcome, keep = await connection.respond_with(self.fallback, request)
            else:
                response = script(request) if callable(script) else script
                request.outcome, keep = await connection.write_response(response, request)
        except (_ClientLeftError, ConnectionError):
            request.outcome, keep = Outcome.DISCONNECTED, False
        except asyncio.CancelledError:
            request.outcome = Outcome.CUT
            raise
        finally:
            request.ended.set()
        await self._tell()
        return keep

    def _next_script(self) -> Script | None:
        return self._scripts.popleft() if self._scripts else self._always

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _ClientLeftError(Exception):
    """The client closed the connection while it was being answered."""


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells at once when the client leaves, even while nobody reads or writes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        connected: Callable[[_Protocol, asyncio.StreamReader], None],
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


class _Connection:
    """Reads requests from one connection and writes answers to it."""

    def __init__(self, number: int, protocol: _Protocol, reader: asyncio.StreamReader) -> None:
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
            raise _ClientLeftError
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
                raise _ClientLeftError
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

    def __init__(self, connection: _Connection, request: Received) -> None:
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
        raise _ClientLeftError

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
