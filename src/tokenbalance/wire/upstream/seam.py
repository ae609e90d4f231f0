"""The seam to the upstream: sends a request, returns its head, then its bytes as they arrive.

Owns the choice of client: connections of our own, or httpx2 if requests must go through a proxy.
Nothing above it knows which. It must never retry, redirect or hold bytes back.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tokenbalance.wire.codings import codings_of
from tokenbalance.wire.passing_headers import HOP_HEADER
from tokenbalance.wire.upstream.client import feed_from
from tokenbalance.wire.upstream.connections import Connections
from tokenbalance.wire.upstream.decoding import DecodedBody
from tokenbalance.wire.upstream.faults import UpstreamBroke
from tokenbalance.wire.upstream.incoming import IncomingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tokenbalance.wire.upstream.client import Client, Headers, Outgoing, Response, Take

logger = logging.getLogger(__name__)

EDITED_BYTES_MAX: Final = 8 * 1024 * 1024

_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(slots=True)
class UpstreamResponse:
    """The head of a response, and its body, which can be read once."""

    status: int
    headers: Headers
    """Names in lower case."""
    readable: bool
    """False if the body is compressed in a way that cannot be decoded here."""
    _body: Response | DecodedBody | _WholeBody

    def read(self) -> Awaitable[bytes]:
        """Return all bytes that have arrived since; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was returned first.

        """
        return self._body.read()

    def take_whole(self) -> bytes | None:
        """Take the body, if all of it is here already; else it is read."""
        body = self._body
        return body.take_whole() if isinstance(body, IncomingResponse) else None

    def feed(self, take: Take) -> Awaitable[bool]:
        """Give what arrives to `take`, if possible in the same turn of the event loop.

        Args:
            take: called with all bytes that have arrived since, until it returns False. It must
                never wait.

        Returns:
            False at the end, when all was given; True when `take` has returned False.

        Raises:
            UpstreamBroke: it ended early; what had arrived before was given to `take` first.

        """
        return self._body.feed(take)

    def limit_silence(self, seconds: float) -> None:
        """End it when nothing has arrived for so long; not possible through an egress proxy."""
        self._body.limit_silence(seconds)

    def close(self) -> Awaitable[None]:
        """Release the connection; it is closed if the response has not arrived whole."""
        return self._body.close()

    async def edited(self, edit: Callable[[bytes], bytes]) -> UpstreamResponse:
        """Read it to its end, and return it with its body changed by `edit`.

        Raises:
            UpstreamBroke: it ended early, is too long to edit, or its coding is unknown.

        """
        try:
            return replace(self, _body=_WholeBody(edit(await self._read_whole())))
        finally:
            await self.close()

    async def _read_whole(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > EDITED_BYTES_MAX:
                break
        if size > EDITED_BYTES_MAX or not self.readable:
            msg = "cannot be edited"
            raise UpstreamBroke(msg)
        return b"".join(pieces)


class _WholeBody:
    """A body that is in memory."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def feed(self, take: Take) -> Awaitable[bool]:
        """Give all of it to `take`."""
        return feed_from(self.read, take)

    def limit_silence(self, seconds: float) -> None:
        """Do nothing: all of it has arrived."""
        del seconds

    async def close(self) -> None:
        """Do nothing: no connection is held."""


def in_memory(status: int, headers: Headers, body: bytes) -> UpstreamResponse:
    """A response that has arrived whole before."""
    return UpstreamResponse(status, headers, True, _WholeBody(body))  # noqa: FBT003 - a field


class Upstream:
    """One upstream with the operator's credentials."""

    def __init__(self, client: Client) -> None:
        self._client: Client = client

    async def send(
        self, method: str, target: str, headers: Headers, body: Outgoing, account: int = 0
    ) -> UpstreamResponse:
        """Send a request and wait for the head of its response.

        Args:
            method: HTTP method.
            target: path below the upstream's base URL, with its query.
            headers: end-to-end headers; the operator's credentials are added to them.
            body: sent as it is; one that is not in memory is read as fast as it is sent.
            account: whom it is for; nobody else reads from the connection until it is silent.

        Raises:
            UpstreamUnavailable: no connection, none that lasted until a response, or a response
                that is not valid HTTP.
            UpstreamTimeout: no response in time.
            UpstreamBroke: a response that began as a 2xx and has no complete head.

        """
        response = await self._client.send(method, target, headers, body, account)
        if response.status in _REDIRECTIONS:
            logger.error(
                "the upstream redirects: set OPENAI_BASE_URL to the URL that it redirects to"
            )
        if b"content-encoding" in dict(response.headers):
            return _encoded(response)
        return UpstreamResponse(response.status, response.headers, True, response)  # noqa: FBT003 - a field


def _encoded(response: Response) -> UpstreamResponse:
    codings = codings_of(value for name, value in response.headers if name == b"content-encoding")
    if not codings:
        is_plain = codings is not None
        return UpstreamResponse(response.status, response.headers, is_plain, response)
    headers = [
        (name, value)
        for name, value in response.headers
        if name not in {b"content-encoding", b"content-length"}
    ]
    return UpstreamResponse(response.status, headers, True, DecodedBody(response, codings))  # noqa: FBT003 - a field


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAddress:
    """Where the upstream is, and with which credentials it is called."""

    base_url: str
    api_key: str
    organization: str | None = None
    project: str | None = None
    proxy_url: str | None = None
    """An egress proxy, `http://` or `https://`; None: a direct connection."""
    hop: bytes | None = None
    """Names this installation in `x-tokenbalance-hop`."""

    @property
    def own_headers(self) -> Headers:
        """Headers of every request. Bodies are to come uncompressed, so that usage can be read."""
        headers = [(b"authorization", b"Bearer " + self.api_key.encode())]
        if self.organization:
            headers.append((b"openai-organization", self.organization.encode()))
        if self.project:
            headers.append((b"openai-project", self.project.encode()))
        if self.hop:
            headers.append((HOP_HEADER, self.hop))
        return [*headers, (b"accept-encoding", b"identity")]


@asynccontextmanager
async def open_upstream(address: UpstreamAddress) -> AsyncGenerator[Upstream]:
    """Open a client of the upstream; its connections are closed on exit."""
    client: Client
    if address.proxy_url is None:
        client = Connections(urlsplit(address.base_url), address.own_headers)
    else:
        from tokenbalance.wire.upstream.egress import (  # noqa: PLC0415 - few need its HTTP client
            ProxiedClient,
        )

        client = ProxiedClient(address.base_url, address.own_headers, address.proxy_url)
    try:
        yield Upstream(client)
    finally:
        await client.close()
