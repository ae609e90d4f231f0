"""Whoever writes an id into an item does not own what has that id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import orjson
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.upstream import Response
from tokenbalance.model.objects import Found
from tokenbalance.owners.registry import Owners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

ITEM = {"type": "message", "role": "user", "content": "Hi", "id": "msg_planted"}
BARE = {"type": "message", "role": "user", "content": "Hi"}
SHOWN = Response(body=orjson.dumps({"object": "list", "data": [ITEM]}))
COUNT = Response(body=b'{"object": "response.input_tokens", "input_tokens": 9}')
ITEMS = "/conversations/conv_1/items"


@pytest.fixture
async def http(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30) as client,
    ):
        yield client


@pytest.fixture
async def owner(pool: Pool) -> Holder:
    holder = await create_holder(pool, 1_000_000)
    made = [Found("conversation", "conv_1"), Found("response", "resp_1")]
    await Owners(pool).record(holder.caller, made)
    return holder


async def refer(http: httpx2.AsyncClient, holder: Holder, name: str = "msg_planted") -> int:
    """The status of a request that names an item."""
    asked = {"model": "gpt-5.4-mini", "input": [{"type": "item_reference", "id": name}]}
    told = await http.post("/responses/input_tokens", json=asked, headers=holder.headers)
    return told.status_code


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", ITEMS, {"items": [ITEM]}),
        ("POST", ITEMS, {"items": [BARE, ITEM]}),
        ("GET", ITEMS, None),
        ("GET", "/responses/resp_1/input_items", None),
        ("POST", "/responses/compact", {"model": "gpt-5.4-mini", "input": [ITEM]}),
    ],
)
async def test_an_id_that_a_client_wrote_is_not_theirs_when_a_list_shows_it(
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    pool: Pool,
    owner: Holder,
    method: str,
    path: str,
    body: Any,
) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    answer = {"id": "resp_2", "data": [ITEM], "output": [ITEM], "usage": usage}
    upstream.always(Response(body=orjson.dumps(answer)))
    shown = await http.request(method, path, json=body, headers=owner.headers)
    assert shown.status_code == 200, shown.text
    sent = len(upstream.requests)
    assert await refer(http, owner) == 404
    assert len(upstream.requests) == sent
    # Its maker is its owner, however late that is known.
    maker = await create_holder(pool, 1_000_000)
    await Owners(pool).record(maker.caller, [Found("item", "msg_planted", "resp_3")])
    upstream.always(COUNT)
    assert (await refer(http, maker), await refer(http, owner)) == (200, 404)


async def test_an_item_that_was_added_without_an_id_is_its_makers(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, owner: Holder
) -> None:
    upstream.script(SHOWN, COUNT)
    await http.post(ITEMS, json={"items": [BARE]}, headers=owner.headers)
    assert await refer(http, owner) == 200


async def test_a_listed_item_is_read_and_deleted_behind_its_conversation_only(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, owner: Holder
) -> None:
    other = await create_holder(pool, 1_000_000)
    await Owners(pool).record(
        other.caller, [Found("conversation", "conv_2"), Found("item", "msg_planted", "conv_2")]
    )
    await Owners(pool).record(owner.caller, [Found("conversation", "conv_3")])
    upstream.always(SHOWN)
    _ = await http.get(ITEMS, headers=owner.headers)
    asked = [
        ("GET", f"{ITEMS}?after=msg_planted"),
        ("GET", "/conversations/conv_3/items?after=msg_planted"),
        ("GET", f"{ITEMS}/msg_planted"),
        ("GET", "/conversations/conv_3/items/msg_planted"),
        ("DELETE", f"{ITEMS}/msg_planted"),
        ("GET", f"{ITEMS}/msg_planted"),
    ]
    told = [
        (await http.request(method, path, headers=owner.headers)).status_code
        for method, path in asked
    ]
    assert told == [200, 404, 200, 404, 200, 404]
    theirs = "/conversations/conv_2/items/msg_planted"
    assert (await http.get(theirs, headers=other.headers)).status_code == 200


async def test_a_copy_with_its_contents_goes_upstream_whoever_has_its_id(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, owner: Holder
) -> None:
    upstream.script(COUNT)
    asked = {"model": "gpt-5.4-mini", "input": [ITEM]}
    told = await http.post("/responses/input_tokens", json=asked, headers=owner.headers)
    assert told.status_code == 200
    assert orjson.loads(upstream.requests[-1].body)["input"] == [ITEM]


async def test_parts_of_what_is_deleted_are_deleted_when_they_are_recorded(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, owner: Holder
) -> None:
    owners = Owners(pool)
    _ = await owners.delete(owner.account_id, "response", "resp_1")
    part = Found("item", "msg_planted", "resp_1")
    await owners.record(owner.caller, [part])
    assert await refer(http, owner) == 404
    # They are back with it, if the upstream has it still.
    await owners.restore(owner.account_id, "response", "resp_1")
    upstream.script(COUNT)
    assert await refer(http, owner) == 200
