"""The seam to the upstream: sends one request, gives back its head and its bytes as they arrive.

Owns who speaks to the upstream: connections of our own, or httpx2 where requests must leave
through a proxy. Nothing above it knows which. It must never retry, redirect or hold bytes back.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tokenbalance.wire.codings import codings_of
from tokenbalance.wire.passing_headers import HOP_HEADER
from tokenbalance.wire.upstream.connections import Connections
from tokenbalance.wire.upstream.decoding import DecodedBody
from tokenbalance.wire.upstream.egress import ProxiedClient
from tokenbalance.wire.upstream.faults import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tokenbalance.wire.upstream.client import Client, Headers, Response

logger = logging.getLogger(__name__)

EDITED_BYTES_MAX: Final = 8 * 1024 * 1024

_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(slots=True)
class UpstreamResponse:
    """The head of an answer, and its body to be read once."""

    status: int
    headers: Headers
    """Names in lower case."""
    readable: bool
    """False when the body is compressed in a way that cannot be undone here."""
    _body: Response | DecodedBody | _WholeBody

    def read(self) -> Awaitable[bytes]:
        """Give the bytes that have arrived since, all of them; `b""` at the end.

        Raises:
            UpstreamBroke: it ended early, by whichever fault; what had arrived was given first.

        """
        return self._body.read()

    def close(self) -> Awaitable[None]:
        """Let go of the connection; one whose answer has not ended is closed."""
        return self._body.close()

    async def edited(self, edit: Callable[[bytes], bytes]) -> UpstreamResponse:
        """Read it to its end, and give it with what `edit` makes of its body.

        Raises:
            UpstreamBroke: it ended early, is too long for this, or compressed in an unknown way.

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
    """A body that is all there."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def close(self) -> None:
        """There is nothing to let go of."""


class Upstream:
    """One upstream with the operator's credentials."""

    def __init__(self, client: Client) -> None:
        self._client: Client = client

    async def send(
        self, method: str, target: str, headers: Headers, body: bytes
    ) -> UpstreamResponse:
        """Send a request and wait for the head of its answer.

        Args:
            method: HTTP method.
            target: path below the upstream's base URL, with its query.
            headers: end-to-end headers; the operator's credentials are added to them.
            body: sent as it is.

        Raises:
            UpstreamUnavailable: no connection, or none that lasted until an answer, or none that
                HTTP knows.
            UpstreamTimeout: no answer in time.
            UpstreamBroke: an answer that began as a 2xx and has no complete head.

        """
        response = await self._client.send(method, target, headers, body)
        if response.status in _REDIRECTIONS:
            logger.error("the upstream redirects: OPENAI_BASE_URL has to be where it leads")
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
    """Where the upstream is, and as whom it is spoken to."""

    base_url: str
    api_key: str
    organization: str | None = None
    project: str | None = None
    proxy_url: str | None = None
    """An egress proxy, `http://` or `https://`; None: straight there."""
    hop: bytes | None = None
    """Who we are, in `x-tokenbalance-hop`."""

    @property
    def own_headers(self) -> Headers:
        """Headers of every request. Plain bodies are asked for, so that usage can be read."""
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
    """Make ready to speak to the upstream; its connections are closed on leaving."""
    client: Client
    if address.proxy_url is None:
        client = Connections(urlsplit(address.base_url), address.own_headers)
    else:
        client = ProxiedClient(address.base_url, address.own_headers, address.proxy_url)
    try:
        yield Upstream(client)
    finally:
        await client.close()
