"""`HEAD` wherever there is `GET`: the same head, and no body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.books import Holder, create_holder

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

PATHS = [
    "/v1/models",
    "/v1/models/gpt-4o-mini",
    "/api/openai/models",
    "/api/balance",
    "/api/usage",
    "/livez",
    "/readyz",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/docs/assets/swagger-ui.css",
    "/sign-in",
    "/nothing",
    "/api/quote",
]
OF_THE_MOMENT = {
    "date",
    "etag",
    "openai-processing-ms",
    "set-cookie",
    "x-request-id",
    "x-tokenbalance-request-id",
}


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


def lasting(response: httpx2.Response) -> dict[str, str]:
    headers = {name: value for name, value in response.headers.items() if name not in OF_THE_MOMENT}
    # What has been counted changes from one look to the next.
    if "text/plain" in headers.get("content-type", ""):
        headers.pop("content-length", None)
    return headers


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_head_of_get(
    http: httpx2.AsyncClient, holder: Holder, path: str
) -> None:
    got = await http.get(path, headers=holder.headers)
    head = await http.head(path, headers=holder.headers)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert lasting(head) == lasting(got)
    # The connection is where it should be: what follows is an answer.
    assert (await http.get("/livez")).json() == {"status": "ok"}


async def test_head_asks_the_upstream_for_what_get_would(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    await http.head("/v1/models", headers=holder.headers)
    (request,) = upstream.requests
    assert (request.method, request.target) == ("GET", b"/v1/models")


async def test_no_byte_follows_the_head(product: str, holder: Holder) -> None:
    parts = urlsplit(product)
    fields = f"Host: x\r\nAuthorization: Bearer {holder.secret}\r\nConnection: close\r\n"
    for path in ("/v1/models", "/sign-in"):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"HEAD {path} HTTP/1.1\r\n{fields}\r\n".encode())
        response = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.endswith(b"\r\n\r\n")
        assert response.count(b"\r\n\r\n") == 1


async def test_head_is_not_served_where_only_post_is(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    for path in ("/v1/completions", "/v1/embeddings", "/v1/images/edits"):
        assert (await http.head(path, headers=holder.headers)).status_code == 404
    assert (await http.head("/api/user/auth")).status_code == 405
    allowed = (await http.patch("/api/balance", headers=holder.headers)).headers["allow"]
    assert allowed == "GET, HEAD"
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_endpoint_that_takes_post_is_not_there_for_another_method(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, method: str
) -> None:
    """As for OpenAI's clients any path that is not: there is no 405 under `/v1`."""
    response = await http.request(method, "/v1/embeddings", headers=holder.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")
    assert upstream.requests == []
