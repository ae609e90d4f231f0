"""Lists of stored objects: a caller's own, from our table, described as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import openai
import orjson
import pytest

from tests.support import postgres
from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.stored_objects import LISTS, PATHS, description, record, store
from tests.support.upstream import Gate, Response, ScriptedUpstream, json_response
from tokenbalance.database.connections import open_pool
from tokenbalance.model.objects import Found
from tokenbalance.owners.registry import Owners
from tokenbalance.proxy import object_lists

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import Received
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json
    from tokenbalance.postgres import EmbeddedPostgres

NOT_FOUND = json_response({"error": {"message": "No such File object", "code": None}}, 404)


@pytest.fixture(scope="module")
async def shared_dsn(cluster: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    dsn = await postgres.clone(cluster, template)
    yield dsn
    await postgres.drop(cluster, dsn)


@pytest.fixture(scope="module")
async def pool(shared_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(shared_dsn, size=5) as pool:
        yield pool


@pytest.fixture(scope="module")
async def shared_upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def product(shared_dsn: str, shared_upstream: ScriptedUpstream) -> AsyncIterator[str]:
    async with serving(shared_dsn, shared_upstream.base_url, LISTS, free_per_minute=0) as url:
        yield f"{url}/v1"


@pytest.fixture
def upstream(shared_upstream: ScriptedUpstream) -> ScriptedUpstream:
    """The upstream, which was asked for nothing yet and has nothing."""
    shared_upstream.forget()
    shared_upstream.always(Response(status=500, body=b"{}"))
    return shared_upstream


@pytest.fixture(scope="module")
async def client(product: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=product, timeout=30) as client:
        yield client


@pytest.fixture
async def maker(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


@pytest.fixture
async def http(client: httpx2.AsyncClient, maker: Holder) -> httpx2.AsyncClient:
    """A client with the maker's key."""
    client.headers.update(maker.headers)
    return client


async def listed(http: httpx2.AsyncClient, path: str, **query: object) -> list[str]:
    """The ids of one page."""
    response = await http.get(path, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    page = response.json()
    ids = [one["id"] for one in page["data"]]
    assert page["object"] == "list"
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids


async def test_a_list_has_what_is_the_callers_as_it_was_described(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    (first,) = await store(pool, maker, "file", status="processed", z=1, a=[2.5, "é"])
    (second,) = await store(pool, maker, "file", status="processed")
    await store(pool, await create_holder(pool), "file", 2, status="processed")
    await store(pool, maker, "container", status="expired")
    response = await http.get("/files")
    assert response.headers["content-type"] == "application/json"
    assert orjson.loads(response.content) == {
        "object": "list",
        "data": [
            description("file", second, status="processed"),
            description("file", first, status="processed", z=1, a=[2.5, "é"]),
        ],
        "first_id": second,
        "last_id": first,
        "has_more": False,
    }
    assert b'"status":"processed","z":1,"a":[2.5' in response.content
    assert upstream.requests == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_follow_each_other_in_both_directions(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder, order: str
) -> None:
    ids = await store(pool, maker, "vector_store", 7, status="expired")
    ids = ids if order == "asc" else ids[::-1]
    path = "/vector_stores"
    assert await listed(http, path, limit=3, order=order) == ids[:3]
    # What is new does not move what was listed.
    new = await store(pool, maker, "vector_store", status="expired")
    assert await listed(http, path, limit=3, order=order, after=ids[2]) == ids[3:6]
    assert await listed(http, path, limit=3, order=order, before=ids[6]) == ids[3:6]
    assert await listed(http, path, order=order, after=ids[1], before=ids[4]) == ids[2:4]
    assert await listed(http, path, order=order, after=ids[6]) == (new if order == "asc" else [])
    assert upstream.requests == []


async def test_the_official_sdk_pages_through_a_list_while_it_deletes_from_it(
    product: str, pool: Pool, maker: Holder, upstream: ScriptedUpstream
) -> None:
    ids = await store(pool, maker, "container", 5, status="expired")
    assert upstream.requests == []
    async with openai.AsyncOpenAI(api_key=maker.secret, base_url=product) as client:
        seen: list[str] = []
        async for one in client.containers.list(limit=2, order="asc"):
            seen.append(one.id)
            await pool.execute("UPDATE objects SET deleted_at = now() WHERE object_id = $1", one.id)
    assert seen == ids


async def test_a_page_begins_after_an_object_of_the_callers_only(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    await store(pool, maker, "vector_store", status="expired")
    (theirs,) = await store(pool, await create_holder(pool), "vector_store")
    nobodys = "x" * len(theirs)
    for name in ("after", "before"):
        foreign = await http.get("/vector_stores", params={name: theirs})
        unknown = await http.get("/vector_stores", params={name: nobodys})
        assert (foreign.status_code, foreign.json()["error"]["param"]) == (404, name)
        assert foreign.content.replace(theirs.encode(), nobodys.encode()) == unknown.content
    for odd in ("\0", "a" * 2000, "\u00e9"):
        assert (await http.get("/files", params={"after": odd})).status_code == 404
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "integer_below_min_value", "limit"),
        ("limit=-1", "integer_below_min_value", "limit"),
        ("limit=101", "integer_above_max_value", "limit"),
        ("limit=ten", "invalid_type", "limit"),
        ("limit=", "invalid_type", "limit"),
        ("limit=1&limit=2", "invalid_value", "limit"),
        ("order=up", "invalid_value", "order"),
        ("metadata[a]=1&metadata%5Ba%5D=2", "invalid_value", "metadata[a]"),
        (f"model={'m' * 600}", "invalid_value", "model"),
        ("metadata[a]=%00", "invalid_value", "metadata[a]"),
        ("&".join(f"x{n}=1" for n in range(99)), "invalid_request", None),
    ],
)
async def test_a_wrong_parameter_is_named(
    http: httpx2.AsyncClient, query: str, code: str, param: str | None
) -> None:
    response = await http.get(f"/chat/completions?{query}")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)


async def test_what_openai_ignores_is_ignored(
    http: httpx2.AsyncClient, pool: Pool, maker: Holder
) -> None:
    ids = await store(pool, maker, "file", 2, status="processed")
    query = "api-version=1&before=nobodys&purpose2=x&api-version=2&after="
    assert await listed(http, f"/files?{query}") == ids[::-1]


async def test_objects_are_chosen_by_what_openai_chooses_them_by(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    (vision,) = await store(pool, maker, "file", status="processed", purpose="vision")
    (odd,) = await store(pool, maker, "file", status="processed", purpose="batch", filename="\0")
    assert await listed(http, "/files", purpose="vision") == [vision]
    assert await listed(http, "/files", purpose="batch") == [odd]
    assert await listed(http, "/files", purpose="vis") == []
    for name in ("one", "two"):
        await store(pool, maker, "container", status="expired", name=name)
    assert len(await listed(http, "/containers", name="two")) == 1
    chats = [
        (await store(pool, maker, "chat_completion", model=model, metadata={"a": a, "b": "1"}))[0]
        for model, a in (("m", "1"), ("m", "2"), ("n", "1"))
    ]
    path = "/chat/completions"
    assert await listed(http, path) == chats
    assert await listed(http, path, **{"model": "m", "metadata[a]": 1}) == chats[:1]
    assert await listed(http, path, **{"metadata[b]": 1, "order": "desc"}) == chats[::-1]
    assert await listed(http, path, **{"metadata[a]": "1", "metadata[b]": "2"}) == []
    assert upstream.requests == []


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


async def test_a_long_page_ends_early_and_says_so(
    http: httpx2.AsyncClient, pool: Pool, maker: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lists, "PAGE_BYTES_MAX", 100)
    monkeypatch.setattr(object_lists, "ROWS_AT_ONCE", 2)
    ids = (await store(pool, maker, "file", 5, status="processed"))[::-1]
    seen = await listed(http, "/files")
    assert seen == ids[:2]
    while len(seen) < len(ids):
        assert (await http.get("/files", params={"after": seen[-3:][0]})).json()["has_more"]
        seen += await listed(http, "/files", after=seen[-1])
    assert seen == ids


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
    assert await pool.fetchval("SELECT state FROM objects WHERE object_id = $1", file) == "uploaded"


def test_each_kind_has_a_path() -> None:
    assert LISTS.find("GET", b"/files").lists_owned
    assert not LISTS.find("GET", b"/models").lists_owned
    assert len(PATHS) == 4
