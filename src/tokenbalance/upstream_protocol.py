"""How an answer of the upstream that breaks is told: at once, and with what it had said so far.

Owns what aiohttp's own protocol leaves open, by its two ends: a connection's bytes as they come in,
and a body that is being read. It must never decide what a broken answer costs.

    broken within the head     aiohttp tells that there was no answer. Whether its first line had
                               said 2xx, and so that the request was accepted, is told here
    broken within the body     by bytes that are no chunk: aiohttp tells the next reader of a head,
                               of whom there is none, and the body's reader waits forever
    unread at the break        aiohttp forgets what had arrived but was not read yet
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

if TYPE_CHECKING:
    import httpx2

_FIRST_LINE_BYTES: Final = len(b"HTTP/1.1 2")
_ACCEPTED: Final = (b"HTTP/1.1 2", b"HTTP/1.0 2")


class BrokeInHead(aiohttp.ClientPayloadError):
    """The answer began as a 2xx, and broke before its head was complete."""


class _Protocol(ResponseHandler):
    """aiohttp's protocol of one connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._first_bytes: bytes = b""

    @override
    def set_response_params(self, *args: object, **kwargs: object) -> None:
        self._first_bytes = b""
        self._payload = None  # what the connection carried before is over
        super().set_response_params(*args, **kwargs)

    @override
    def data_received(self, data: bytes) -> None:
        if len(self._first_bytes) < _FIRST_LINE_BYTES:
            self._first_bytes += data[: _FIRST_LINE_BYTES - len(self._first_bytes)]
        super().data_received(data)

    @override
    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        cause = () if exc_cause is None else (exc_cause,)
        body = self._payload
        if body is None and self._first_bytes in _ACCEPTED:
            exc = BrokeInHead(str(exc))
        super().set_exception(exc, *cause)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError(str(exc)), *cause)


def open_connector(keepalive_s: float) -> aiohttp.TCPConnector:
    """Open a pool of connections without a limit; the caller closes it."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=keepalive_s)
    connector._factory = partial(_Protocol, asyncio.get_running_loop())  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return connector


def left_unread(response: httpx2.Response) -> bytes:
    """What had arrived of a broken body and was not read."""
    answer = cast(
        "aiohttp.ClientResponse | None", getattr(response.stream, "_aiohttp_response", None)
    )
    if answer is None:
        return b""
    body = answer.content
    return b"".join(body._buffer)[body._buffer_offset :]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
