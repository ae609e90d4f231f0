"""Endpoints that are in no table, where the operator lets them through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.upstream import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

HELD = 500
USAGE = (
    b'{"id": "thing_1", "parts": [{"id": "part-1"}],'
    b' "usage": {"input_tokens": 3, "output_tokens": 4}}'
)
NO_USAGE = b'{"id": "thing_1", "object": "thing"}'


@dataclass(frozen=True)
class People:
    """Two users of a server that lets unknown endpoints through."""

    http: httpx2.AsyncClient
    pool: Pool
    maker: Holder
    other: Holder

    async def post(self, path: str, body: object, holder: Holder | None = None) -> httpx2.Response:
        headers = (holder or self.maker).headers
        return await self.http.post(f"/v1{path}", json=body, headers=headers)

    async def charges(self) -> list[tuple[int, bool]]:
        rows = await self.pool.fetch(
            "SELECT -amount, estimated FROM ledger WHERE kind = 'charge' ORDER BY id"
        )
        return [(row[0], row[1]) for row in rows]


@pytest.fixture
async def people(dsn: str, pool: Pool, upstream: ScriptedUpstream) -> AsyncIterator[People]:
    async with (
        serving(dsn, upstream.base_url, unknown_endpoints="meter", unknown_hold=HELD) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        maker, other = [await create_holder(pool, 5 * HELD) for _ in range(2)]
        yield People(http, pool, maker, other)


async def test_the_usage_of_the_response_is_charged_or_else_all_that_was_held(
    people: People, upstream: ScriptedUpstream
) -> None:
    upstream.script(Response(body=USAGE), Response(body=NO_USAGE), Response(status=404, body=b"{}"))
    body = {"text": "as it came", "beta": True}
    response = await people.post("/new/things?beta=true", body)
    assert response.content == USAGE
    assert response.headers["x-tokenbalance-hold"] == str(HELD)
    assert upstream.requests[0].target == b"/v1/new/things"
    assert upstream.requests[0].json() == body
    assert (await people.post("/new/things", body)).headers["x-tokenbalance-charge"] == str(HELD)
    assert (await people.post("/new/things", body)).status_code == 404
    assert await people.charges() == [(7, False), (HELD, True)]


async def test_an_account_that_cannot_pay_the_hold_is_refused(
    people: People, upstream: ScriptedUpstream
) -> None:
    poor = await create_holder(people.pool, HELD - 1)
    assert (await people.post("/new/things", {}, poor)).status_code == 402
    assert upstream.requests == []


async def test_what_a_response_names_is_its_callers_alone(
    people: People, upstream: ScriptedUpstream
) -> None:
    upstream.always(Response(body=USAGE))
    await people.post("/new/things", {})
    for path, body in [
        ("/new/things/thing_1/parts", {}),
        ("/new/things", {"part_ids": ["part-1"]}),
        ("/new/things", {"metadata": {"id": "thing_1"}}),
    ]:
        assert (await people.post(path, body)).status_code == 200
        sent = len(upstream.requests)
        theirs = await people.post(path, body, people.other)
        assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "not_found")
        nobodys = await people.http.post(
            f"/v1{path}".replace("_1", "_2"),
            content=httpx2.Request("POST", "http://x", json=body)
            .content.replace(b"_1", b"_2")
            .replace(b"-1", b"-2"),
            headers={**people.maker.headers, "content-type": "application/json"},
        )
        expected = theirs.content.replace(b"_1", b"_2").replace(b"-1", b"-2")
        assert nobodys.content == expected
        assert len(upstream.requests) == sent


async def test_objects_of_known_kinds_can_be_named(
    people: People, upstream: ScriptedUpstream
) -> None:
    await people.pool.execute(
        "INSERT INTO objects (account_id, object_id, kind) VALUES ($1, 'file-1', 'file')",
        people.maker.account_id,
    )
    upstream.script(Response(body=NO_USAGE))
    assert (await people.post("/new/things", {"file_id": "file-1"})).status_code == 200
    assert (
        await people.post("/new/things", {"file_id": "file-1"}, people.other)
    ).status_code == 404


async def test_streams_and_other_methods_are_refused(
    people: People, upstream: ScriptedUpstream
) -> None:
    refused = await people.post("/new/things", {"stream": True})
    assert refused.json()["error"]["param"] == "stream"
    for method in ("GET", "DELETE", "PUT"):
        response = await people.http.request(method, "/v1/new/things", headers=people.maker.headers)
        assert response.json()["error"]["code"] == "unknown_url"
    assert (await people.post("/organization/new", {})).json()["error"]["code"] == "unknown_url"
    assert upstream.requests == []
