"""Requests written byte by byte on a socket of their own, and the responses as they come back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from tests.support.books import Holder

PATIENCE_S = 10.0
CHAT_PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response to a raw request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error that it carries."""
        return orjson.loads(self.body)["error"]


@dataclass(frozen=True, slots=True)
class RawConnection:
    """One connection to the product."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def begin(
        self, holder: Holder, length: int, path: str = CHAT_PATH, more: str = "", body: bytes = b""
    ) -> None:
        """Send the head of a request whose body is to have `length` bytes, and `body`."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {holder.secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
        )
        self.writer.write(head.encode() + body)

    async def send(self, piece: bytes) -> None:
        """Send some more of the body, as fast as it is read."""
        self.writer.write(piece)
        await self.writer.drain()

    async def response(self) -> RawResponse:
        """Read one response that has a length."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").split("\r\n")
            headers = dict(_fields(lines))
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return RawResponse(int(status_line.split(" ")[1]), headers, body)

    async def ends(self) -> bool:
        """Whether the product sends no more, and ends its side of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read() == b""


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            yield name.lower(), value.strip()


@asynccontextmanager
async def connection_to(url: str) -> AsyncGenerator[RawConnection]:
    """Connect to the product."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.close()
