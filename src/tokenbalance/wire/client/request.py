"""A request as the client sent it, whichever way the server hands it over.

Decisions look at the raw path and the header list as received, before the body is read.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol, Self, cast

from tokenbalance.errors import (
    InvalidEncoding,
    InvalidRequest,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedMediaType,
)
from tokenbalance.offload import offload
from tokenbalance.wire.codings import TAKEN, BadCodingError, TooLongError, codings_of, decode
from tokenbalance.wire.passing_headers import HOP_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.types import Message, Receive, Scope

Headers = list[tuple[bytes, bytes]]

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""The default limit of a JSON body."""
INLINE_DECODED_BYTES_MAX: Final = 128 * 1024
"""Compressed bodies up to this size are decoded on the event loop (half a millisecond), longer ones
in a thread."""
INLINE_JOINED_BYTES_MAX: Final = 1024 * 1024
"""The pieces of longer bodies are joined in a thread, where that keeps nobody waiting."""
SHOWN_PATH_CHARS: Final = 200
BRIEF_BYTES_MAX: Final = 64 * 1024
"""As much of a body is read from a connection before anybody has asked for it."""
BODY_SILENCE_MAX_S: Final = 20.0
"""How long a client may pause while it sends a body."""
BODY_START_S: Final = 30.0
"""How long a body may take in all, in addition to the time for what has arrived of it."""
BODY_BYTES_PER_S: Final = 128 * 1024
"""The rate at which that time grows."""


class ClientGone(Exception):
    """The client closed the connection before it had sent its request."""


class Incoming(Protocol):
    """What a server hands over of a request besides its head."""

    def take_whole(self) -> bytes | None:
        """Take the body, if all of it is here already; else it is received."""
        ...

    def receive(self) -> Awaitable[Message]:
        """Wait for some of the body, or for the client to leave, in ASGI's messages."""
        ...

    def address(self) -> Awaitable[str]:
        """The IP address of the client; "" if it has none."""
        ...


class _AsgiIncoming:
    """Of any ASGI server."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self.receive = receive

    def take_whole(self) -> None:
        """Nobody knows in ASGI what is here."""

    async def address(self) -> str:
        client = cast("tuple[str, int] | None", self._scope.get("client"))
        return client[0] if client else ""


class ClientRequest:
    """One request as it was received."""

    def __init__(
        self, method: str, raw_path: bytes, query: bytes, headers: Headers, incoming: Incoming
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        """As the client wrote it, without the query."""
        self.query = query
        self.headers = headers
        self._fields = dict(headers)
        self._incoming = incoming

    @classmethod
    def of_asgi(cls, scope: Scope, receive: Receive) -> Self:
        """The request that an ASGI server hands over."""
        return cls(
            cast("str", scope["method"]),
            cast("bytes", scope["raw_path"]),
            cast("bytes", scope["query_string"]),
            list(cast("Headers", scope["headers"])),
            _AsgiIncoming(scope, receive),
        )

    def address(self) -> Awaitable[str]:
        """The IP address of the client; "" if it has none."""
        return self._incoming.address()

    @property
    def shown_path(self) -> str:
        """The path for logs: on one line, and shortened."""
        shown = self.raw_path[:SHOWN_PATH_CHARS].decode("ascii", "backslashreplace")
        return shown if shown.isprintable() else repr(shown)

    async def read_body(
        self,
        bytes_max: int = BODY_BYTES_MAX,
        within_s: float | None = None,
        keep: Callable[[int], None] | None = None,
    ) -> bytes:
        """Read the whole body.

        It may take BODY_START_S and a second for each BODY_BYTES_PER_S of what has arrived.

        Args:
            bytes_max: the largest size accepted.
            within_s: how long it may take at most; None: as long as data arrives fast enough.
            keep: called with the size of what has arrived, before it is kept; may raise to refuse.

        Raises:
            RequestTooLarge: it is longer than `bytes_max`, or declared to be.
            RequestTimeout: the client stopped sending, or sent too slowly.
            ClientGone: the client disconnected.

        """
        whole = self._incoming.take_whole()
        if whole is not None:
            if len(whole) > bytes_max:
                raise _too_large(bytes_max)
            if keep is not None:
                keep(len(whole))
            return whole
        declared = self.declared_bytes
        if declared is not None and declared > bytes_max:
            raise _too_large(bytes_max)
        now = asyncio.get_running_loop().time
        began = now()
        ends = math.inf if within_s is None else began + within_s

        def deadline(size: int) -> float:
            due = began + BODY_START_S + size / BODY_BYTES_PER_S
            return min(now() + BODY_SILENCE_MAX_S, due, ends)

        try:
            async with asyncio.timeout_at(deadline(0)) as timeout:
                return await self._read_body(
                    bytes_max, lambda size: timeout.reschedule(deadline(size)), keep
                )
        except TimeoutError:
            raise _too_slow() from None

    async def _read_body(
        self,
        bytes_max: int,
        wait_on: Callable[[int], None],
        keep: Callable[[int], None] | None,
    ) -> bytes:
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._incoming.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = cast("bytes", message.get("body", b""))
            more = bool(message.get("more_body"))
            size += len(piece)
            if size > bytes_max:
                raise _too_large(bytes_max)
            if keep is not None:
                keep(size)
            pieces.append(piece)
            if more:
                wait_on(size)
        if len(pieces) == 1:
            return pieces[0]
        if size <= INLINE_JOINED_BYTES_MAX:
            return b"".join(pieces)
        return await offload(b"".join, pieces)

    async def feed_body(self, take: Callable[[bytes], Awaitable[None]], bytes_max: int) -> None:
        """Give the body to `take`, piece by piece; it may take as long as for `read_body`.

        The time that `take` needs is not the client's.

        Raises:
            RequestTooLarge: it is longer than `bytes_max`, or declared to be.
            RequestTimeout: the client stopped sending, or sent too slowly.
            ClientGone: the client disconnected.

        """
        if (self.declared_bytes or 0) > bytes_max:
            raise _too_large(bytes_max)
        now = asyncio.get_running_loop().time
        began = now()
        size = 0
        more = True
        while more:
            due = began + BODY_START_S + size / BODY_BYTES_PER_S
            try:
                async with asyncio.timeout_at(min(now() + BODY_SILENCE_MAX_S, due)):
                    message = await self._incoming.receive()
            except TimeoutError:
                raise _too_slow() from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = cast("bytes", message.get("body", b""))
            more = bool(message.get("more_body"))
            size += len(piece)
            if size > bytes_max:
                raise _too_large(bytes_max)
            taken = now()
            await take(piece)
            began += now() - taken

    @property
    def declared_bytes(self) -> int | None:
        """How long the body is according to its head; None where that does not say it."""
        declared = self._header(b"content-length")
        return int(declared) if declared is not None and declared.isdigit() else None

    def codings(self) -> tuple[bytes, ...]:
        """The content codings of the body, in the order in which they were applied.

        Raises:
            UnsupportedMediaType: they cannot be decoded here.

        """
        if b"content-encoding" not in self._fields:
            return ()
        codings = codings_of(value for name, value in self.headers if name == b"content-encoding")
        if codings is None:
            msg = (
                f"A request body may be plain, or have a Content-Encoding of {TAKEN}, at most two"
                " of them in a row."
            )
            raise UnsupportedMediaType(msg)
        return codings

    def require_plain_json(self) -> None:
        """Refuse a body that is not JSON, or is compressed; an undeclared type counts as JSON.

        Raises:
            UnsupportedMediaType: it is declared as something else, or compressed.
            InvalidRequest: its type is declared twice.

        """
        self.require_json()
        if self.codings():
            msg = "A compressed request body is not accepted; send it without Content-Encoding."
            raise UnsupportedMediaType(msg)

    def require_json(self) -> None:
        """Refuse a body that is not JSON; an undeclared type counts as JSON.

        Raises:
            UnsupportedMediaType: it is declared as something else.
            InvalidRequest: its type is declared twice.

        """
        types = [value for name, value in self.headers if name == b"content-type"]
        if len(types) > 1:
            msg = "More than one Content-Type header was sent; exactly one is accepted."
            raise InvalidRequest(msg)
        if types and not _is_utf8_json(types[0]):
            msg = "The request body must be JSON in UTF-8 (Content-Type: application/json)."
            raise UnsupportedMediaType(msg)

    @property
    def is_brief(self) -> bool:
        """Whether it has a short body that the client sends without being asked to."""
        declared = self.declared_bytes
        return (
            declared is not None and b"expect" not in self._fields and declared <= BRIEF_BYTES_MAX
        )

    @property
    def asks_for_websocket(self) -> bool:
        """Whether this is a WebSocket handshake."""
        upgrade = self._header(b"upgrade")
        return upgrade is not None and b"websocket" in upgrade.lower()

    def came_through(self, hop: bytes) -> bool:
        """Whether this installation has already sent the request upstream."""
        return HOP_HEADER in self._fields and any(
            name == HOP_HEADER and hop in value for name, value in self.headers
        )

    async def wait_for_disconnect(self) -> None:
        """Return when the client has disconnected; call this after the body was read."""
        while (await self._incoming.receive())["type"] != "http.disconnect":
            pass

    @asynccontextmanager
    async def cancelling_when_gone(self) -> AsyncGenerator[None]:
        """Cancel what runs inside when the client disconnects; enter after the body was read.

        Raises:
            ClientGone: it has disconnected.

        """
        serving = asyncio.current_task()
        left = False

        async def watch() -> None:
            nonlocal left
            await self.wait_for_disconnect()
            left = True
            if serving is not None:
                _ = serving.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if not left or serving is None or serving.uncancel() > 0:
                raise
            raise ClientGone from None
        finally:
            _ = watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    def _header(self, name: bytes) -> bytes | None:
        return self._fields.get(name)


def _too_slow() -> RequestTimeout:
    return RequestTimeout("The request body did not arrive in time.")


def _too_large(bytes_max: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is larger than {bytes_max} bytes.")


async def decoded(body: bytes, codings: tuple[bytes, ...], bytes_max: int) -> bytes:
    """Decode the content codings of a body, in a thread if that takes long.

    Raises:
        InvalidEncoding: its bytes do not match its Content-Encoding.
        RequestTooLarge: it is longer than `bytes_max` once decoded.

    """
    try:
        return await _decoded(body, codings, bytes_max)
    except TooLongError:
        raise _too_large(bytes_max) from None
    except BadCodingError:
        msg = "The request body does not match its Content-Encoding, or it ends too early."
        raise InvalidEncoding(msg) from None


async def _decoded(body: bytes, codings: tuple[bytes, ...], bytes_max: int) -> bytes:
    if len(body) <= INLINE_DECODED_BYTES_MAX:
        # A few bytes may decode to many; how many is only known by decoding.
        with suppress(TooLongError):
            return decode(body, codings, min(bytes_max, INLINE_DECODED_BYTES_MAX))
    return await offload(decode, body, codings, bytes_max)


@lru_cache(maxsize=64)
def _is_utf8_json(content_type: bytes) -> bool:
    media, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [
        value.removeprefix(b"charset=").strip(b'"')
        for value in parameters
        if value.startswith(b"charset=")
    ]
    return media == b"application/json" and all(
        charset in {b"utf-8", b"utf8"} for charset in charsets
    )
