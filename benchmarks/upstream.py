"""An upstream that remembers its responses, and a tap that notes which of them arrived.

    the product  <-  Tap  <-  (faults)  <-  RememberingUpstream

Every request names a model of its own, `gpt-4o-mini-KIND-NUMBER`. The name reaches the upstream,
and the books keep it with the hold, so that a request, its response and its charge belong together
even if the client received nothing. The kind decides the response.

A response that a fault swallowed before its first byte was never given, as far as anybody on the
other side can know. So it is the tap that decides: it stands behind the faults and passes all.
"""

from __future__ import annotations

import asyncio
import enum
import random
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import orjson

from benchmarks.upstream_objects import response_with_objects
from tests.support.upstream import Gate, Part, Response, ScriptedUpstream, event_stream

if TYPE_CHECKING:
    from tests.support.fault_proxy import FaultProxy
from tests.support.upstream import Received

PROMPT_TOKENS: Final = 17
"""What the prompt of these clients has, by the rules of the real upstream."""
_MODEL: Final = re.compile(r"gpt-4o-mini-([a-z]+)-(\d+)")
_HEAD: Final = re.compile(rb"x-request-id: req-(\d+)\.")
_USAGE: Final = re.compile(rb'"service_tier":"used-(\d+)\."')
_MARK_BYTES: Final = 64
"""No mark is longer, so that one cut in two is found with that much of what came before."""
_READ_BYTES: Final = 64 * 1024
_LINGER_FOR_NO_TIME: Final = struct.pack("ii", 1, 0)


class Kind(enum.StrEnum):
    """The kinds of responses."""

    JSON = "json"
    THOUGHT = "thought"
    """A document after seconds of silence."""
    STREAM = "stream"
    SLOW = "slow"
    """A stream of seconds."""
    BARE = "bare"
    """A stream that reports no usage."""
    BROKEN = "broken"
    """A stream that breaks off before it has reported its usage."""
    REFUSED = "refused"
    LIMITED = "limited"
    FAILED = "failed"
    LATE = "late"
    """An error after seconds of silence."""

    @property
    def status(self) -> int:
        """Of the response."""
        statuses = {Kind.REFUSED: 400, Kind.LIMITED: 429, Kind.FAILED: 500, Kind.LATE: 503}
        return statuses.get(self, 200)

    @property
    def streams(self) -> bool:
        """Whether the client asks for a stream."""
        return self in {Kind.STREAM, Kind.SLOW, Kind.BARE, Kind.BROKEN}


@dataclass(slots=True)
class Served:
    """What the upstream knows of one request."""

    number: int
    kind: Kind
    total: int
    """Tokens that were used, and reported where the kind reports any."""
    times: int = 1
    """How often the request arrived."""
    responded: bool = False
    """The whole head of the response passed the tap."""
    reported: bool = False
    """The usage passed the tap, whole."""


def model_of(kind: Kind, number: int) -> str:
    """Name the model of one request."""
    return f"gpt-4o-mini-{kind}-{number:06}"


def number_of(model: str) -> int:
    """Tell which request a model's name belongs to."""
    return _parsed(model)[1]


def _parsed(model: str) -> tuple[Kind, int]:
    match = _MODEL.fullmatch(model)
    assert match, model
    return Kind(match[1]), int(match[2])


class RememberingUpstream(ScriptedUpstream):
    """Responds to each request as its model's name says, and records it."""

    def __init__(self) -> None:
        super().__init__()
        self.served: dict[int, Served] = {}
        """By the number in the model's name."""
        self.always(self._response_to)

    def _response_to(self, request: Received) -> Response:
        if not request.target.startswith(b"/v1/chat/"):
            request.body, body = b"", request.body
            return response_with_objects(request.target, body)
        document = orjson.loads(request.body)
        kind, number = _parsed(document["model"])
        cap = document.get("max_completion_tokens") or document.get("max_tokens")
        script = _Script(kind, number, cap)
        known = self.served.get(number)
        if known is not None:
            known.times += 1
        else:
            self.served[number] = Served(number, kind, script.total)
        # Thousands of them, with their bodies, are of no more use.
        request.body = b""
        return script.response()


class _Script:
    """The response to one request; the same for the same number."""

    def __init__(self, kind: Kind, number: int, cap: int | None) -> None:
        self._kind = kind
        self._number = number
        self._random = random.Random(number)
        wanted = self._random.randint(3, 30)
        self._output = wanted if cap is None else min(wanted, cap)
        self.total = PROMPT_TOKENS + self._output

    def response(self) -> Response:
        if self._kind.status != 200:  # noqa: PLR2004 - the one that is no error
            return self._error()
        if self._kind.streams:
            return self._stream()
        return self._document()

    @property
    def _name(self) -> tuple[str, str]:
        return "x-request-id", f"req-{self._number}."

    def _document(self) -> Response:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": " word" * self._output},
            "finish_reason": "stop",
        }
        body = orjson.dumps(
            {**self._head("chat.completion"), "choices": [choice], **self._reported()}
        )
        pause_s = self._random.uniform(1, 4) if self._kind is Kind.THOUGHT else 0.1
        headers = (("content-type", "application/json"), self._name)
        return Response(
            headers=headers, body=body, head_gate=_after(pause_s * self._random.random())
        )

    def _stream(self) -> Response:
        pause_s = 0.25 if self._kind is Kind.SLOW else 0.02
        parts: list[Part] = []
        for _ in range(self._output):
            choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
            parts += [self._event(choices=[choice]), pause_s * self._random.random()]
        if self._kind is Kind.BROKEN:
            # Within the last event, so that something has arrived.
            sent = sum(len(part) for part in parts if isinstance(part, bytes))
            response = event_stream(*parts, headers=[self._name])
            return Response(headers=response.headers, body=response.body, cut_after=sent - 5)
        ending: dict[str, object] = {"index": 0, "delta": {}, "finish_reason": "stop"}
        parts.append(self._event(choices=[ending]))
        if self._kind is not Kind.BARE:
            parts.append(self._event(choices=[], **self._reported()))
        parts.append(b"data: [DONE]\n\n")
        return event_stream(*parts, headers=[self._name])

    def _error(self) -> Response:
        error = {"message": "No.", "type": "server_error", "param": None, "code": None}
        gate = _after(self._random.uniform(1, 6)) if self._kind is Kind.LATE else None
        return Response(
            status=self._kind.status,
            headers=(("content-type", "application/json"), self._name),
            body=orjson.dumps({"error": error}),
            head_gate=gate,
        )

    def _event(self, **members: object) -> bytes:
        document = {**self._head("chat.completion.chunk"), **members}
        return b"data: " + orjson.dumps(document) + b"\n\n"

    def _head(self, name: str) -> dict[str, object]:
        return {"id": f"chatcmpl-{self._number}", "object": name, "created": 1}

    def _reported(self) -> dict[str, object]:
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": self._output,
            "total_tokens": self.total,
        }
        # Behind the usage: when it has passed, so has the usage.
        return {"usage": usage, "service_tier": f"used-{self._number}."}


def _after(pause_s: float) -> Gate:
    gate = Gate()
    _ = asyncio.get_running_loop().call_later(pause_s, gate.open)
    return gate


class Tap:
    """Passes everything between the product and the faults, and notes which responses arrived."""

    def __init__(self, upstream: RememberingUpstream, faults: FaultProxy) -> None:
        self._upstream = upstream
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """What goes into `OPENAI_BASE_URL`."""
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            _ = task.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            responses, requests = await asyncio.open_connection("127.0.0.1", self._faults.port)
            writers.append(requests)
            _ = await asyncio.gather(
                _pass(reader, requests), self._pass_responses(responses, writer)
            )
        except OSError:
            for each in writers:
                _reset(each)
        finally:
            for each in writers:
                each.close()

    async def _pass_responses(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        before = b""
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
            seen = before + data
            self._note(seen)
            before = seen[-_MARK_BYTES:]
        writer.close()

    def _note(self, seen: bytes) -> None:
        # A mark may be seen twice; that changes nothing.
        for match in _HEAD.finditer(seen):
            self._upstream.served[int(match[1])].responded = True
        for match in _USAGE.finditer(seen):
            self._upstream.served[int(match[1])].reported = True


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NO_TIME)
    writer.transport.abort()
