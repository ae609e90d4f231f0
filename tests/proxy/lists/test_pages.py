"""Lists of stored objects: a caller's own, from our table, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import orjson
import pytest

from tests.support.books import create_holder
from tests.support.stored_objects import LISTS, PATHS, description, listed, store
from tokenbalance.proxy import object_lists

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


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


async def test_a_list_has_a_head(http: httpx2.AsyncClient, upstream: ScriptedUpstream) -> None:
    response = await http.head("/files")
    whole = await http.get("/files")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(whole.content))
    assert upstream.requests == []


def test_each_kind_has_a_path() -> None:
    assert LISTS.find("GET", b"/files").lists_owned
    assert not LISTS.find("GET", b"/models").lists_owned
    assert len(PATHS) == 4
