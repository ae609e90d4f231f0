"""A client that sends the body of a request in pieces, for as long as nobody answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

HANGS_AFTER_S = 20


async def status_for(url: str, head: str, pieces: AsyncGenerator[bytes]) -> bytes:
    """Send a head (with `{host}` in it), then pieces until there is an answer; its status line."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(head.format(host=where.netloc).encode())
    response = asyncio.create_task(reader.read(12))
    try:
        async with asyncio.timeout(HANGS_AFTER_S):
            async for piece in pieces:
                writer.write(piece)
                if response.done():
                    break
            return await response
    finally:
        writer.close()


async def silence() -> AsyncGenerator[bytes]:
    """Begin, and send nothing more."""
    yield b"name=Ada"


async def a_trickle() -> AsyncGenerator[bytes]:
    """Send a byte now and then, so that there is never a silence."""
    for _ in range(900):
        yield b" "
        await asyncio.sleep(0.02)
