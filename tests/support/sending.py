"""Requests to an upstream through the seam, and upstreams that are written by hand."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tokenbalance.wire.upstream import Upstream, UpstreamResponse

READ_BYTES = 256 * 1024
"""What the event loop reads at once, at most."""
MEGABYTE = 1024 * 1024


async def send(
    sending: Upstream, body: bytes = b"{}", method: str = "POST", account: int = 0
) -> UpstreamResponse:
    """Send a request; gives the head of its response."""
    return await sending.send(method, "/chat/completions", [], body, account)


async def read_all(response: UpstreamResponse) -> bytes:
    """Read a response to its end, and close it."""
    pieces: list[bytes] = []
    while piece := await response.read():
        pieces.append(piece)
    await response.close()
    return b"".join(pieces)


async def ask(
    sending: Upstream, body: bytes = b"{}", method: str = "POST", account: int = 0
) -> bytes:
    """Send a request; gives the body of its response."""
    return await read_all(await send(sending, body, method, account))


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until it holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options: Any
) -> AsyncGenerator[str]:
    """An upstream written by hand; its base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(connected(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, **options)
    scheme = "https" if "ssl" in options else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
