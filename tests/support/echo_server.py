"""An echo behind the product's HTTP protocol, on a socket of its own, and words to talk to it."""

from __future__ import annotations

import asyncio
import gc
import json
import queue
import threading
from typing import TYPE_CHECKING, ClassVar, cast

from uvicorn.server import ServerState

from tests.support import hostile
from tokenbalance.wire.server.lifecycle import build_config
from tokenbalance.wire.server.protocol import HttpProtocol

if TYPE_CHECKING:
    from uvicorn._types import (
        ASGIApplication,
        ASGIReceiveCallable,
        ASGISendCallable,
        HTTPScope,
    )

HOST = "127.0.0.1"
# When the application below gives up on a client that stalls in its body, as the product does.
BODY_TIMEOUT_S = 1.0


class QuickProtocol(HttpProtocol):
    head_timeout_s: ClassVar[float] = 0.3
    linger_timeout_s: ClassVar[float] = 0.3


class Echo:
    """Responds with what it was given, and remembers how each request ended for it."""

    def __init__(self) -> None:
        self.endings: queue.Queue[str] = queue.Queue()

    async def __call__(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["path"] == "/early":
            await response(send, 413, b"too large")
            return
        if scope["path"] == "/half":
            await start(send, 200)
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
        try:
            body = await asyncio.wait_for(self.read(receive), BODY_TIMEOUT_S)
        except TimeoutError:
            await response(send, 408, b"too slow")
            return
        if body is None:
            return
        if scope["path"] == "/half":
            await send({"type": "http.response.body", "body": b"two", "more_body": False})
            return
        document = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [
                [name.decode(), value.decode("latin-1")] for name, value in scope["headers"]
            ],
            "body": body.decode("latin-1"),
        }
        await response(send, 200, json.dumps(document).encode())

    async def read(self, receive: ASGIReceiveCallable) -> bytes | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                self.endings.put("disconnect")
                return None
            body += message["body"]
            if not message["more_body"]:
                self.endings.put("complete")
                return body


async def response(send: ASGISendCallable, status: int, body: bytes) -> None:
    await start(send, status, (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def start(send: ASGISendCallable, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
    )


class Served:
    """The echo behind our protocol, on the event loop of the product, in its own thread."""

    def __init__(self, protocol: type[HttpProtocol]) -> None:
        self.echo = Echo()
        self._protocol = protocol
        self._config = build_config(
            lambda: cast("ASGIApplication", self.echo), log_level="critical"
        )
        self._config.load()
        self._state = ServerState()
        self._loop = (self._config.get_loop_factory() or asyncio.new_event_loop)()
        self._server = self._loop.run_until_complete(
            self._loop.create_server(self._connection, HOST, 0)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def _connection(self) -> asyncio.Protocol:
        return self._protocol(self._config, self._state, {}, self._loop)

    def stop(self) -> None:
        async def close() -> None:
            self._server.close()
            for connection in list(self._state.connections):
                connection.transport.abort()
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
            await self._server.wait_closed()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        gc.collect()

    async def play(
        self, *pieces: bytes, half_close: bool = False, close_s: float | None = None
    ) -> hostile.Outcome:
        """Send `pieces` with a pause between them and collect what comes back."""
        case = hostile.Case(
            id="hand-made",
            category="http-framing",
            why="",
            method="HEAD" if pieces[0].startswith(b"HEAD") else "POST",
            pieces=pieces,
            pause_s=0.05,
            half_close=half_close,
            expect_status=frozenset(),
            expect_code=frozenset(),
            upstream_max=0,
            max_responses=None,
            expect_close_s=close_s,
            max_seconds=None,
            forbidden=None,
            fields={},
        )
        return await hostile.send(case, HOST, self.port, quiet_s=0.15, patience_s=10)


def assert_refused(outcome: hostile.Outcome, status: int, code: str = "invalid_request") -> None:
    """One response in OpenAI's envelope, the connection ended, nothing reached the application."""
    assert outcome.statuses == [status]
    assert outcome.closed
    response = outcome.responses[0]
    assert response.code == code
    assert set(json.loads(response.body)["error"]) == {"message", "type", "param", "code"}
    assert dict(response.headers)["content-type"] == "application/json"
    assert dict(response.headers)["connection"] == "close"


def post(*fields: bytes, body: bytes = b"", path: bytes = b"/v1/x") -> bytes:
    lines = [b"POST %s HTTP/1.1" % path, b"Host: a", *fields, b"", body]
    return b"\r\n".join(lines)


CHUNKED = b"Transfer-Encoding: chunked"
GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
