"""A server that says the same thing to every request, and counts how often it was asked.

What clients do when they are refused is measured against it, not against the product, so that the
table stands for itself: it says why the product's refusals look as they do.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final, cast

from tests.clients.listening import Listener, QuietHandler, listening

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

SOCKET: Final = "websocket"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is said.

    Args:
        name: in the table.
        status: of every POST; 200 has the output "hello".
        code: of the error.
        headers: in addition to those of the content.
        handshake: the status of a WebSocket handshake.

    """

    name: str
    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    handshake: int = 426


NEVER: Final = {"x-should-retry": "false"}
REFUSALS: Final = (
    Refusal("402 insufficient_quota, x-should-retry: false", 402, "insufficient_quota", NEVER),
    Refusal("429 insufficient_quota, x-should-retry: false", 429, "insufficient_quota", NEVER),
    Refusal("429 insufficient_quota", 429, "insufficient_quota"),
    Refusal(
        "429 rate_limit_exceeded, retry-after: 1", 429, "rate_limit_exceeded", {"retry-after": "1"}
    ),
    Refusal(
        "429 rate_limit_exceeded, retry-after: 130",
        429,
        "rate_limit_exceeded",
        {"retry-after": "130"},
    ),
    Refusal("503, x-should-retry: false", 503, "upstream_quota", NEVER),
    Refusal("handshake 426, then 200", 200, "", handshake=426),
    Refusal("handshake 404, then 200", 200, "", handshake=404),
)


class ScriptedServer:
    """What was asked of it: how often, by kind (`POST` or `websocket`)."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.url = ""
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, kind: str) -> None:
        """One more."""
        with self._lock:
            self.asked[kind] += 1


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    @property
    def script(self) -> ScriptedServer:
        return cast("ScriptedServer", cast("Listener", self.server).purpose)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        self.script.count("POST")
        refusal = self.script.refusal
        if refusal.status != 200:
            self._refuse(refusal.status, refusal.code, refusal.headers)
        else:
            self._respond("text/event-stream", _streamed_hello(str(body.get("model", ""))))

    def do_GET(self) -> None:
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.script.count(SOCKET)
            self._refuse(self.script.refusal.handshake, "websocket_not_supported", {})
        else:
            self._respond("application/json", b'{"object": "list", "data": []}')

    def _refuse(self, status: int, code: str, headers: Mapping[str, str]) -> None:
        error = {
            "message": "The script says no.",
            "type": code,
            "param": None,
            "code": code,
        }
        self._respond("application/json", json.dumps({"error": error}).encode(), status, headers)

    def _respond(
        self,
        kind: str,
        body: bytes,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _streamed_hello(model: str) -> bytes:
    """Write a whole response of /v1/responses that says hello, as a stream of events."""
    item: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "hello", "annotations": []}],
    }
    response: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [item],
        "usage": {
            "input_tokens": 1,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 2,
        },
    }
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


@contextmanager
def scripted_server(refusal: Refusal) -> Generator[ScriptedServer]:
    """Serve one script on a port of its own."""
    script = ScriptedServer(refusal)
    with listening(_Handler, script) as url:
        script.url = f"{url}/v1"
        yield script
