"""Handshakes of WebSockets, which are not served: clients that know HTTP too go on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import Holder, create_holder

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SOCKETS = ("/v1/responses", "/v1/realtime?model=gpt-realtime", "/api/openai/responses/")


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_handshake_is_refused_in_a_way_that_makes_clients_go_on_with_http(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, path: str
) -> None:
    response = await http.get(path, headers={**holder.headers, **HANDSHAKE})
    assert response.status_code == 426
    assert response.json()["error"]["code"] == "websocket_not_supported"
    # RFC 9110 section 15.5.22.
    assert response.headers["upgrade"] == "HTTP/1.1"
    assert response.headers["connection"] == "upgrade"
    assert upstream.requests == []


async def test_a_handshake_without_a_key_is_a_401(http: httpx2.AsyncClient) -> None:
    response = await http.get("/v1/responses", headers=HANDSHAKE)
    assert response.status_code == 401


async def test_the_connection_carries_requests_after_a_refused_handshake(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    for headers in ({**holder.headers, **HANDSHAKE}, holder.headers, holder.headers):
        response = await http.get("/v1/models", headers=headers)
        assert response.status_code == 200
    assert (await http.get("/v1/responses", headers=holder.headers)).status_code == 403


async def test_another_protocol_is_not_meant_for_us(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    response = await http.get(
        "/v1/responses", headers={**holder.headers, "connection": "Upgrade", "upgrade": "h2c"}
    )
    assert response.status_code == 403
