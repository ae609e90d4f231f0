"""The seam to the upstream: sends one request, gives back its head and its bytes as they arrive.

The only file that knows an HTTP client. It calls the transport below httpx2's API directly, so
there is no client in between that would retry, redirect, pool quadratically or buffer a stream.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport

from tokenbalance.errors import UpstreamTimeout, UpstreamUnavailable
from tokenbalance.upstream_protocol import BrokeInHead, left_unread, open_connector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

Headers = list[tuple[bytes, bytes]]

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 600.0
"""Reasoning models are silent for minutes; the official SDKs wait this long too."""
KEEPALIVE_S: Final = 15.0
"""Shorter than the upstream's own, so that a request is not sent into a closing connection."""

_TIMEOUTS: Final = {"connect": CONNECT_TIMEOUT_S, "read": READ_TIMEOUT_S, "pool": None}
_FINAL_STATUS_MIN: Final = 200
_DECODED: Final = frozenset({b"gzip", b"deflate", b"x-gzip"})
# What aiohttp would add by itself. The upstream gets the client's headers and nothing else.
_ADDED_BY_AIOHTTP: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_TIMED_OUT: Final = (TimeoutError, aiohttp.ServerTimeoutError, httpx2.ReadTimeout)
_FAILED: Final = (httpx2.HTTPError, aiohttp.ClientError, OSError, ValueError)


class UpstreamBroke(Exception):
    """The upstream had begun to answer and stopped before the end of its body."""


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """The head of an answer, and its body to be iterated once."""

    status: int
    headers: Headers
    readable: bool
    """False when the body is compressed in a way that cannot be undone here."""
    _response: httpx2.Response

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, never joined and never held.

        Raises:
            UpstreamBroke: it ended early, by whichever fault.

        """
        try:
            if not self._is_plain:
                async for chunk in self._response.aiter_bytes():
                    yield chunk
            else:
                async for chunk in self._response.stream:  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
                    yield chunk
        except _FAILED as error:
            rest = left_unread(self._response) if self._is_plain else b""
            if rest:
                yield rest
            raise UpstreamBroke(type(error).__name__) from error

    @property
    def _is_plain(self) -> bool:
        return _content_encoding(self._response.headers.raw) not in _DECODED

    async def close(self) -> None:
        """Let go of the connection; one whose body was not read to its end is closed."""
        await self._response.aclose()


class Upstream:
    """One upstream with the operator's credentials."""

    def __init__(
        self, transport: httpx2.AsyncBaseTransport, base_url: str, credentials: Headers
    ) -> None:
        self._transport = transport
        self._base_url = base_url
        self._credentials = credentials

    async def send(self, method: str, target: str, headers: Headers, body: bytes) -> UpstreamAnswer:
        """Send a request and wait for the head of its answer.

        Args:
            method: HTTP method.
            target: path below the upstream's base URL, with its query.
            headers: end-to-end headers; the operator's credentials are added here.
            body: sent as it is.

        Raises:
            UpstreamUnavailable: no connection, or none that lasted until an answer, or none that
                HTTP knows.
            UpstreamTimeout: no answer in time.
            UpstreamBroke: an answer that began as a 2xx and has no complete head.

        """
        request = httpx2.Request(
            method,
            self._base_url + target,
            headers=[*headers, *self._credentials, (b"accept-encoding", b"identity")],
            content=body,
            extensions={"timeout": _TIMEOUTS},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except _FAILED as error:
            if isinstance(error.__cause__ or error, BrokeInHead):
                raise UpstreamBroke(type(error).__name__) from error
            if isinstance(error.__cause__ or error, _TIMED_OUT):
                msg = "The upstream did not answer in time; nothing was charged."
                raise UpstreamTimeout(msg) from error
            msg = "The upstream could not be reached; nothing was charged."
            raise UpstreamUnavailable(msg) from error
        if response.status_code < _FINAL_STATUS_MIN:
            await response.aclose()
            msg = "The upstream gave no answer that can be passed on; nothing was charged."
            raise UpstreamUnavailable(msg)
        encoding = _content_encoding(response.headers.raw)
        return UpstreamAnswer(
            status=response.status_code,
            headers=[
                (name.lower(), value)
                for name, value in response.headers.raw
                if not (
                    encoding in _DECODED
                    and name.lower() in {b"content-encoding", b"content-length"}
                )
            ],
            readable=encoding in _DECODED or encoding in {b"", b"identity"},
            _response=response,
        )


def _content_encoding(headers: Headers) -> bytes:
    values = [value for name, value in headers if name.lower() == b"content-encoding"]
    return b", ".join(values).strip().lower()


@asynccontextmanager
async def open_upstream(
    base_url: str, api_key: str, organization: str | None, project: str | None
) -> AsyncGenerator[Upstream]:
    """Open the connections to the upstream; they are closed on leaving."""
    credentials: Headers = [(b"authorization", b"Bearer " + api_key.encode())]
    if organization:
        credentials.append((b"openai-organization", organization.encode()))
    if project:
        credentials.append((b"openai-project", project.encode()))
    session = aiohttp.ClientSession(
        connector=open_connector(KEEPALIVE_S),
        skip_auto_headers=_ADDED_BY_AIOHTTP,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    async with session:
        yield Upstream(AiohttpTransport(client=session), base_url, credentials)
