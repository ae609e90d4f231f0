"""How replies are sent: at once or in parts, whole or broken off, all of it or a range."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import orjson
from starlette.responses import Response

from tokenbalance.sandbox.faults import Manner
from tokenbalance.sandbox.replies import Content, Stream, Whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from tokenbalance.sandbox.replies import Reply

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


def play(reply: Reply, manner: Manner, pace_s: float, wanted: str | None) -> ASGIApp:
    """Send a reply.

    Args:
        reply: what is sent.
        manner: how its model stands for.
        pace_s: seconds between two pieces of a slow response.
        wanted: the `range` header of the request.

    """
    match reply:
        case Stream(events=events):
            return _Playback(events, "text/event-stream; charset=utf-8", manner, pace_s)
        case Content():
            return _ranged(reply, wanted)
        case Whole(document) if manner is Manner.PROMPT:
            return Response(orjson.dumps(document), media_type="application/json")
        case Whole(document):
            body = orjson.dumps(document)
            halves = (body[: len(body) // 2], body[len(body) // 2 :])
            return _Playback(halves, "application/json", manner, pace_s)


def _ranged(content: Content, wanted: str | None) -> Response:
    """Send a content, or the one range of it that is asked for."""
    size = len(content.data)
    headers = {"accept-ranges": "bytes"}
    if content.filename is not None:
        name = re.sub(r"[^\w. -]", "_", content.filename, flags=re.ASCII)
        headers["content-disposition"] = f'attachment; filename="{name}"'
    found = None if wanted is None else _RANGE.fullmatch(wanted)
    if found is None or not (found[1] or found[2]):
        return Response(content.data, headers=headers, media_type=content.media_type)
    if found[1]:
        start = int(found[1])
        end = min(int(found[2] or size), size - 1)
    else:
        start, end = max(size - int(found[2]), 0), size - 1
    if start > end:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {start}-{end}/{size}"
    part = content.data[start : end + 1]
    return Response(part, status_code=206, headers=headers, media_type=content.media_type)


class _Playback:
    """Sends a response's parts in the manner that its model stands for."""

    def __init__(
        self, parts: Sequence[bytes], content_type: str, manner: Manner, pace_s: float
    ) -> None:
        self._parts = parts
        self._content_type = content_type
        self._manner = manner
        self._pace_s = pace_s if manner is Manner.SLOW else 0.0

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self._content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        whole = self._manner in {Manner.PROMPT, Manner.SLOW}
        await self._send(self._parts if whole else self._parts[: len(self._parts) // 2], send)
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._manner is Manner.STALL:
            while (await receive())["type"] != "http.disconnect":
                pass
        # Manner.CUT: an ASGI app drops the connection by returning without the last message.

    async def _send(self, parts: Sequence[bytes], send: Send) -> None:
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # Even without a pace, so that a long response does not block others.
            await asyncio.sleep(self._pace_s)
