"""The upstream's responses to requests that make objects, each with ids of its own."""

from __future__ import annotations

import asyncio
import random
from itertools import count
from typing import Final

import orjson

from tests.support.upstream import Gate, Response, event_stream, json_response

_numbers = count(1)
_PAUSE_S: Final = 0.3
_USAGE: Final = {
    "input_tokens": 8,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 12,
}


def response_with_objects(target: bytes, body: bytes) -> Response:
    """Respond to a request at a conversation, or for a response."""
    number = next(_numbers)
    if target.startswith(b"/v1/conversations"):
        return json_response({"id": f"conv_{number}", "object": "conversation", "created_at": 1})
    document = orjson.loads(body)
    pause_s = _PAUSE_S * random.random()
    if not document.get("stream"):
        gate = Gate()
        _ = asyncio.get_running_loop().call_later(pause_s, gate.open)
        whole = orjson.dumps(_response(number, "completed"))
        headers = (("content-type", "application/json"),)
        return Response(headers=headers, body=whole, head_gate=gate)
    return event_stream(
        _event("response.created", response=_response(number, "in_progress")),
        pause_s,
        _event("response.output_item.added", output_index=0, item=_item(number)),
        pause_s,
        _event("response.completed", response=_response(number, "completed")),
    )


def _event(kind: str, **members: object) -> bytes:
    data = orjson.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _item(number: int) -> dict[str, object]:
    part: dict[str, object] = {"type": "output_text", "text": "Hi", "annotations": []}
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": [part]}


def _response(number: int, status: str) -> dict[str, object]:
    done = status == "completed"
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-4o-mini",
        "output": [_item(number)] if done else [],
        "store": True,
        "usage": _USAGE if done else None,
    }
