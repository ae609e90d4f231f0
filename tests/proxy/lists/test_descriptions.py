"""Objects in lists are described as they are now, without the upstream's own list."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.stored_objects import LISTS, description, listed, record, store
from tests.support.upstream import Gate, Response, json_response
from tokenbalance.model.objects import Found
from tokenbalance.owners.registry import Owners
from tokenbalance.proxy import object_lists

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tests.support.upstream import Received, ScriptedUpstream
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json

NOT_FOUND = json_response({"error": {"message": "No such File object", "code": None}}, 404)


async def test_what_may_have_changed_is_described_anew_once(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    await store(pool, maker, "file", status="processed")
    (file,) = await store(pool, maker, "file", status="uploaded")
    upstream.script(json_response(description("file", file, status="processed", bytes=7)))
    for _ in range(2):
        page = (await http.get("/files")).json()
        assert [one["status"] for one in page["data"]] == ["processed", "processed"]
    assert [one.target for one in upstream.requests] == [f"/v1/files/{file}".encode()]
    row = await pool.fetchrow("SELECT state, bytes FROM objects WHERE object_id = $1", file)
    assert row == ("processed", 7)


async def test_a_chat_is_looked_up_before_it_is_chosen_by_what_is_not_known_of_it(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    (made,) = await store(pool, maker, "chat_completion", model="m")
    streamed = f"{made}-streamed"
    await record(pool, maker, Found("chat_completion", streamed))

    def chat(request: Received) -> Response:
        name = request.target.decode().rpartition("/")[2]
        metadata: dict[str, Json] = {"a": "yes" if name == streamed else "no"}
        return json_response(description("chat_completion", name, model="m", metadata=metadata))

    upstream.always(chat)
    for _ in range(2):
        assert await listed(http, "/chat/completions", **{"metadata[a]": "yes"}) == [streamed]
    assert len(upstream.requests) == 2


async def test_what_the_upstream_no_longer_has_is_left_out_and_the_page_is_filled_up(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    old = await store(pool, maker, "file", 3, status="processed")
    gone = await store(pool, maker, "file", 3, status="uploaded")
    upstream.always(NOT_FOUND)
    response = (await http.get("/files?limit=2")).json()
    assert [one["id"] for one in response["data"]] == [old[2], old[1]]
    assert response["has_more"]
    assert len(upstream.requests) == 3
    deleted = "SELECT count(*) FROM objects WHERE object_id = ANY($1) AND deleted_at IS NOT NULL"
    assert await pool.fetchval(deleted, gone) == 3


@pytest.mark.parametrize(
    "response",
    [
        Response(status=500, body=b"{}"),
        Response(status=404, body=b"<html>"),
        Response(status=200, body=b'{"id": "another", "status": "processed"}'),
        Response(status=200, body=b'{"id": ', cut_after=3),
        Response(raw=b"not HTTP"),
        Response(body=[b'{"id": "', b"x" * object_lists.DESCRIPTION_BYTES_MAX, b'"}']),
    ],
)
async def test_without_an_answer_it_is_shown_as_it_was(
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    pool: Pool,
    maker: Holder,
    response: Response,
) -> None:
    (file,) = await store(pool, maker, "file", status="uploaded")
    bare = f"{file}-bare"
    await record(pool, maker, Found("file", bare))
    upstream.always(response)
    page = (await http.get("/files")).json()
    assert page["data"] == [
        {"id": bare, "object": "file"},
        description("file", file, status="uploaded"),
    ]


async def test_what_was_just_made_is_not_given_up(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    (file,) = await store(pool, maker, "file", status="uploaded")
    await pool.execute("UPDATE objects SET created_at = now() WHERE object_id = $1", file)
    upstream.always(NOT_FOUND)
    assert await listed(http, "/files") == [file]


async def test_a_silent_upstream_is_asked_for_eight_at_once_and_not_waited_for(
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    pool: Pool,
    maker: Holder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_lists, "REFRESH_WITHIN_S", 0.2)
    monkeypatch.setattr(object_lists, "REFRESHES_MAX", 12)
    ids = await store(pool, maker, "file", 20, status="uploaded")
    gate = Gate()
    upstream.always(Response(head_gate=gate))
    assert await listed(http, "/files") == ids[::-1]
    assert len(upstream.requests) == object_lists.REFRESHES_AT_ONCE
    gate.open()


async def test_who_leaves_is_not_looked_up_for(
    product: str, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    await store(pool, maker, "file", 9, status="uploaded")
    gate = Gate()
    upstream.always(Response(head_gate=gate))
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        asking = asyncio.create_task(client.get("/files", headers=maker.headers))
        await upstream.received(object_lists.REFRESHES_AT_ONCE)
        asking.cancel()
        await asyncio.wait([asking])
    await upstream.until(lambda: not upstream.open)
    assert len(upstream.disconnected) == len(upstream.requests) == object_lists.REFRESHES_AT_ONCE
    gate.open()


async def test_each_object_that_is_looked_up_counts_as_a_request(
    shared_dsn: str, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    ids = await store(pool, maker, "file", 5, status="uploaded")
    async with (
        serving(shared_dsn, upstream.base_url, LISTS, free_per_minute=4) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", headers=maker.headers) as client,
    ):
        assert await listed(client, "/files") == ids[::-1]
        assert len(upstream.requests) == 3
        assert (await client.get("/files")).status_code == 429


async def test_what_is_read_or_changed_is_described_anew_but_becomes_nobodys(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    (file,) = await store(pool, maker, "file", status="uploaded")
    (vectors,) = await store(pool, maker, "vector_store", status="in_progress")
    upstream.script(
        json_response(description("file", file, status="processed")),
        json_response(description("vector_store", vectors, status="expired", name="New")),
    )
    assert (await http.get(f"/files/{file}")).status_code == 200
    assert (await http.post(f"/vector_stores/{vectors}", json={"name": "New"})).is_success
    assert (await http.get("/files")).json()["data"][0]["status"] == "processed"
    assert (await http.get("/vector_stores")).json()["data"][0]["name"] == "New"
    assert len(upstream.requests) == 2
    # An object that the response describes in place of the one that was asked for.
    upstream.script(json_response(description("file", "file-stranger", status="processed")))
    assert (await http.get(f"/files/{file}")).status_code == 200
    assert await listed(http, "/files") == [file]
    assert await pool.fetchval("SELECT count(*) FROM objects WHERE object_id ~ 'stranger'") == 0


async def test_other_peoples_rows_are_never_described_anew(pool: Pool, maker: Holder) -> None:
    (file,) = await store(pool, maker, "file", status="uploaded")
    other = await create_holder(pool)
    lists = Owners(pool).lists
    await lists.describe(other.account_id, Found("file", file, state="processed", snapshot="{}"))
    state = "SELECT state FROM objects WHERE object_id = $1"
    assert await pool.fetchval(state, file) == "uploaded"
    assert await Owners(pool).delete(maker.account_id, "file", file)
    await lists.describe(maker.account_id, Found("file", file, state="processed", snapshot="{}"))
    assert await pool.fetchval(state, file) == "uploaded"
