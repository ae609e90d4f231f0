"""What is stored upstream, by the management API."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from tests.support.stored_objects import record, store
from tokenbalance.model.objects import Found
from tokenbalance.owners.stored import KINDS, Kind

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool


def test_the_kinds_are_those_of_the_list() -> None:
    assert get_args(Kind) == KINDS


async def test_objects_are_listed_page_by_page(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    user, headers = people.user, people.user.headers
    stores = await store(pool, user, "vector_store", 2, name="Books", status="completed")
    await record(pool, user, Found("file", "file-bare", snapshot='["odd"]'))
    await record(pool, user, Found("file", "file-odd", snapshot="{"))
    page = (await http.get("/api/objects", params={"limit": 3}, headers=headers)).json()
    assert [one["id"] for one in page["data"]] == ["file-odd", "file-bare", stores[1]]
    following = {"after": page["next"]}
    rest = (await http.get("/api/objects", params=following, headers=headers)).json()
    (last,) = rest["data"]
    assert rest["next"] is None
    assert last.pop("created_at")
    assert last == {
        "id": stores[0],
        "kind": "vector_store",
        "name": "Books",
        "bytes": 120,
        "state": "completed",
        "expires_at": None,
    }


async def test_a_superuser_names_the_user(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    (file,) = await store(pool, people.user, "file")
    query = {"user_id": people.user.user_id, "kind": "file"}
    seen = await http.get("/api/objects", params=query, headers=people.superuser.headers)
    assert [one["id"] for one in seen.json()["data"]] == [file]
    own = await http.get("/api/objects", headers=people.superuser.headers)
    assert own.json()["data"] == []
    refused = await http.get("/api/objects", params=query, headers=people.other.headers)
    assert refused.status_code == 403
    for name, wrong in (("kind", "item"), ("after", "x"), ("after", "WzEsMl0")):
        response = await http.get("/api/objects", params={name: wrong}, headers=people.user.headers)
        assert (response.status_code, response.json()["error"]["param"]) == (400, name)
