"""The query of a URL on its way upstream: what the operation has, spelled by this server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.upstream import Response

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

MADE = b'{"id": "conv_1", "object": "conversation", "metadata": {}, "created_at": 1}'
PAGE = b'{"object": "list", "data": [{"id": "msg_1", "type": "message"}], "has_more": false}'
ITEMS = "/v1/conversations/conv_1/items"


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 100)


@pytest.fixture
async def made(http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder) -> None:
    upstream.script(Response(body=MADE))
    await http.post("/v1/conversations", json={}, headers=holder.headers)
    upstream.always(Response(body=PAGE))


@pytest.mark.usefixtures("made")
async def test_a_list_goes_upstream_with_the_parameters_that_it_has(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    raw = "limit=2&include%5B%5D=a&include%5B%5D=b&beta=true&api-version=2024&order=as%63"
    response = await http.get(f"{ITEMS}?{raw}", headers=holder.headers)
    assert response.content == PAGE
    sent = b"/v1/conversations/conv_1/items?limit=2&include%5B%5D=a&include%5B%5D=b&order=asc"
    assert upstream.requests[-1].target == sent
    # A page that was seen makes a cursor of its last item, for its owner alone.
    response = await http.head(f"{ITEMS}?after=msg_1", headers=holder.headers)
    assert (response.status_code, response.content) == (200, b"")
    assert upstream.requests[-1].target == b"/v1/conversations/conv_1/items?after=msg_1"


@pytest.mark.usefixtures("made")
async def test_a_cursor_that_is_not_the_callers_is_refused_like_nobodys(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, pool: Pool
) -> None:
    other = await create_holder(pool, 100)
    upstream.script(Response(body=MADE.replace(b"conv_1", b"conv_2")))
    await http.post("/v1/conversations", json={}, headers=other.headers)
    await http.get(ITEMS, headers=holder.headers)
    sent = len(upstream.requests)
    theirs = "/v1/conversations/conv_2/items"
    others = await http.get(f"{theirs}?after=msg_1", headers=other.headers)
    nobodys = await http.get(f"{theirs}?after=msg_2", headers=other.headers)
    assert (others.status_code, others.json()["error"]["param"]) == (404, "after")
    assert nobodys.content == others.content.replace(b"msg_1", b"msg_2")
    refused = await http.get(f"{ITEMS}?limit=%zz", headers=holder.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "limit")
    assert len(upstream.requests) == sent


async def test_a_query_of_an_operation_that_has_none_is_dropped(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    await http.get("/v1/models?limit=%zz&x=1", headers=holder.headers)
    assert upstream.requests[-1].target == b"/v1/models"
