"""Management routes whose database is away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx2

from tests.support import postgres
from tests.support.product import serving
from tests.web.api.test_roles import TABLE

if TYPE_CHECKING:
    import pytest

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.postgres import EmbeddedPostgres


async def test_every_route_says_that_it_cannot_now_and_may_be_asked_again(
    cluster: EmbeddedPostgres,
    template: str,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dsn = await postgres.clone(cluster, template)
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        ready = await client.post("/api/user/auth", json={"email": "a@b.c", "password": "wrong"})
        assert ready.status_code == 400
        await postgres.drop(cluster, dsn)
        ids = dict.fromkeys(
            ("user_id", "key_id", "request_id", "token_id", "allowance_id", "tag"), "1"
        )
        with caplog.at_level(logging.CRITICAL, "tokenbalance.books.ledger"):
            for row in TABLE:
                if row.route.endswith(("/docs", "/schema")):
                    continue
                body = (
                    {**(row.body or {}), "password": "password"}
                    if "auth" in row.route
                    else row.body
                )
                headers = {"Authorization": "Bearer tb-any", **row.headers}
                response = await client.request(
                    row.method, row.path(ids), json=body, headers=headers
                )
                assert response.status_code == 503, (row.route, response.text)
                assert response.json()["error"]["code"] == "service_unavailable"
                assert int(response.headers["retry-after"]) >= 1
                assert response.headers["cache-control"] == "no-store"
