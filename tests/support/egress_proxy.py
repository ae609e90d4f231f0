"""An egress proxy on a real socket: forwards `http://` requests, tunnels for `https://`."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl


class EgressProxy:
    """The proxy. Start it with `async with`."""

    def __init__(self, credentials: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[bytes] = []
        """The first line of every head, in order of arrival."""
        self._credentials = credentials
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """With its credentials, if it wants any."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._credentials}@" if self._credentials else ""
        return f"{'https' if self._tls else 'http'}://{user}127.0.0.1:{port}"

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.partition(b"\r\n")[0])
            if self._refuses(head):
                writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
                return
            await self._forward(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _refuses(self, head: bytes) -> bool:
        if self._credentials is None:
            return False
        shown = base64.b64encode(self._credentials.encode())
        return b"proxy-authorization: basic " + shown.lower() not in head.lower()

    async def _forward(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, _version = head.partition(b"\r\n")[0].split(b" ")
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            there, onwards = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Go\r\n\r\n")
        else:
            url = urlsplit(target.decode())
            there, onwards = await asyncio.open_connection(url.hostname, url.port)
            onwards.write(head.replace(target, target[target.index(b"/", 8) :], 1))
        try:
            await asyncio.gather(_copy(reader, onwards), _copy(there, writer))
        finally:
            onwards.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
