"""An upstream on a real socket that responds as a test scripts it, and remembers everything.

    async with ScriptedUpstream() as upstream:
        gate = Gate()
        upstream.script(Response(body=[b"data: 1\\n\\n", gate, b"data: 2\\n\\n"]))
        ...                          # the proxy under test calls upstream.base_url
        await gate.reached.wait()    # the first chunk is out, the second is held back
        gate.open()

A request gets the next scripted response; when none is left, the one given to `always`, and without
that the sandbox's.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Self, TypeAlias

from tests.support.responses import (
    Framing,
    Gate,
    HeaderList,
    Part,
    Response,
    event_stream,
    json_response,
    replay,
)
from tests.support.upstream_connection import (
    HEAD_LIMIT_BYTES,
    ClientLeftError,
    Connection,
    Outcome,
    Protocol,
    Received,
)
from tokenbalance.sandbox.app import create_sandbox

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = [
    "Framing",
    "Gate",
    "HeaderList",
    "Outcome",
    "Part",
    "Received",
    "Response",
    "Script",
    "ScriptedUpstream",
    "event_stream",
    "json_response",
    "replay",
]

_WAIT_S = 10.0


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

    def _new_protocol(self) -> Protocol:
        reader = asyncio.StreamReader(limit=HEAD_LIMIT_BYTES)
        return Protocol(reader, self._connected)

    def _connected(self, protocol: Protocol, reader: asyncio.StreamReader) -> None:
        connection = Connection(self.connections, protocol, reader)
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
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

    async def _respond(self, connection: Connection, request: Received) -> bool:
        """Answer, note how it ended, and say whether the connection goes on."""
        try:
            script = self._next_script()
            if script is None:
                request.outcome, keep = await connection.respond_with(self.fallback, request)
            else:
                response = script(request) if callable(script) else script
                request.outcome, keep = await connection.write_response(response, request)
        except (ClientLeftError, ConnectionError):
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
