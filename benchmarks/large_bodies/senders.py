"""The clients and the upstream, in a process of their own: their work must not stop the server.

    python -m benchmarks.large_bodies.senders UPSTREAM_PORT

Reads a line for each case from stdin, `PORT LARGE_KEY OTHER_KEY SHAPE MEBIBYTES`, and prints a line
for each: status of the large request, its milliseconds, the other user's worst and median ones.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp import web

from benchmarks.large_bodies.shapes import SHAPES
from benchmarks.speed import bodies
from benchmarks.verdict import say

PAUSE_S: Final = 0.02
HEAD_BYTES: Final = 300
"""More than is around the bulk of a body."""
PATIENCE_S: Final = 120.0
_SMALL: Final = bodies.chat(1024)
_USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_EMBEDDING: Final[dict[str, object]] = {
    "object": "list",
    "data": [],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
_CHAT: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": bodies.MODEL,
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    ],
    "usage": _USAGE,
}
_CHUNK: Final = {**_CHAT, "object": "chat.completion.chunk", "choices": []}
_STREAM: Final = f"data: {json.dumps(_CHUNK)}\n\ndata: [DONE]\n\n".encode()


async def _upstream(request: web.Request) -> web.StreamResponse:
    beginning = b""
    async for piece in request.content.iter_any():
        beginning = beginning or bytes(piece)
    if request.path.endswith("/embeddings"):
        return web.json_response(_EMBEDDING)
    if b'"stream":true' in beginning:
        return web.Response(body=_STREAM, content_type="text/event-stream")
    return web.json_response(_CHAT)


async def _ask(session: aiohttp.ClientSession, key: str, path: str, body: bytes) -> int:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with session.post(path, data=body, headers=headers) as response:
        _ = await response.read()
        return response.status


async def _other(session: aiohttp.ClientSession, key: str, latencies: list[float]) -> None:
    while True:
        began = time.perf_counter()
        status = await _ask(session, key, "/v1/chat/completions", _SMALL)
        if status != 200:  # noqa: PLR2004 - the one that counts
            _ = sys.stderr.write(f"the other user got {status}\n")
        latencies.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE_S)


async def _case(line: str) -> str:
    port, large, other, shape, mebibytes = line.rstrip().split("\t")
    body = SHAPES[shape](int(float(mebibytes) * 2**20) - HEAD_BYTES)
    path = "/v1/embeddings" if b"text-embedding" in body[:40] else "/v1/chat/completions"
    timeout = aiohttp.ClientTimeout(PATIENCE_S)
    latencies: list[float] = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:
        other_user = asyncio.create_task(_other(session, other, latencies))
        began = time.perf_counter()
        status = await _ask(session, large, path, body)
        took = (time.perf_counter() - began) * 1000
        await asyncio.sleep(PAUSE_S)
        _ = other_user.cancel()
        with suppress(asyncio.CancelledError):
            await other_user
    median = statistics.median(latencies) if latencies else took
    return f"{status}\t{took}\t{max(latencies, default=took)}\t{median}"


async def _serve(port: int) -> None:
    application = web.Application(client_max_size=2**31)
    _ = application.router.add_route("*", "/{path:.*}", _upstream)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    loop = asyncio.get_running_loop()
    say("ready")
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        say(await _case(line))
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
