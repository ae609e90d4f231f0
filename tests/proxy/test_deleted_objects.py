"""What is deleted is nobody's from then on, unless the upstream still has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import charges_of, create_holder
from tests.support.named_objects import events_of
from tests.support.product import serving
from tests.support.upstream import Gate, Response, event_stream
from tokenbalance.model.objects import Found
from tokenbalance.openai import OPERATIONS, Surface
from tokenbalance.openai.families import READ
from tokenbalance.openai.operation import Examples, Operation
from tokenbalance.owners.registry import Owners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

EXAMPLES = Examples({}, {})


def row(method: str, path: str, *uses: str, deletes: str | None = None) -> Operation:
    return Operation(method, path, READ, "x", uses=uses, deletes=deletes, own_examples=EXAMPLES)


ROWS = (
    row("GET", "/made/{response_id}", "response"),
    row("DELETE", "/made/{response_id}", "response", deletes="response"),
    row("GET", "/made/{response_id}/items/{item_id}", "response", "item"),
    row("GET", "/kept/{file_id}", "file"),
    row(
        "DELETE",
        "/kept/{vector_store_id}/files/{file_id}",
        "vector_store",
        "vector_store_file",
        deletes="vector_store_file",
    ),
    row("GET", "/kept/{skill_id}/versions/{version}", "skill", "skill_version"),
    row(
        "DELETE",
        "/kept/{skill_id}/versions/{version}",
        "skill",
        "skill_version",
        deletes="skill_version",
    ),
)
MADE = (
    Found("response", "resp_9"),
    Found("item", "msg_9", "resp_9"),
    Found("file", "file-9"),
    Found("vector_store", "vs_9"),
    Found("skill", "skill_9"),
    Found("skill_version", "skillver_9", "skill_9"),
)


@pytest.fixture
async def http(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(dsn, upstream.base_url, Surface((*OPERATIONS, *ROWS))) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30) as client,
    ):
        yield client


@pytest.fixture
async def maker(pool: Pool) -> Holder:
    holder = await create_holder(pool, 1_000_000)
    await Owners(pool).record(holder.caller, MADE)
    return holder


async def statuses(http: httpx2.AsyncClient, holder: Holder, *paths: str) -> list[int]:
    return [(await http.get(path, headers=holder.headers)).status_code for path in paths]


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_an_object_that_the_upstream_does_not_have_is_gone_with_its_parts(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, maker: Holder, status: int
) -> None:
    upstream.script(Response(status=status))
    _ = await http.delete("/made/resp_9", headers=maker.headers)
    paths = ["/made/resp_9", "/made/resp_9/items/msg_9"]
    assert await statuses(http, maker, *paths) == [404, 404]
    again = await http.delete("/made/resp_9", headers=maker.headers)
    assert again.status_code == 404
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [Response(status=409), Response(status=500), Response(raw=b"")],
    ids=["conflict", "failure", "no answer"],
)
async def test_an_object_that_the_upstream_may_still_have_is_the_callers_with_its_parts(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, maker: Holder, refusal: Response
) -> None:
    upstream.script(refusal)
    refused = await http.delete("/made/resp_9", headers=maker.headers)
    assert refused.status_code >= 409
    upstream.always(Response())
    paths = ["/made/resp_9", "/made/resp_9/items/msg_9"]
    assert await statuses(http, maker, *paths) == [200, 200]


async def test_while_it_is_being_deleted_it_is_nobodys(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, maker: Holder
) -> None:
    gate = Gate()
    upstream.script(Response(head_gate=gate))
    deleting = asyncio.create_task(http.delete("/made/resp_9", headers=maker.headers))
    await gate.reached.wait()
    assert await statuses(http, maker, "/made/resp_9") == [404]
    second = await http.delete("/made/resp_9", headers=maker.headers)
    gate.open()
    assert (second.status_code, (await deleting).status_code) == (404, 200)
    assert len(upstream.requests) == 1


async def test_of_many_deletions_at_once_one_is_sent(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, maker: Holder
) -> None:
    upstream.always(Response())
    deletions = [http.delete("/made/resp_9", headers=maker.headers) for _ in range(8)]
    told = sorted([(await each).status_code for each in asyncio.as_completed(deletions)])
    assert told == [200, *[404] * 7]
    assert len(upstream.requests) == 1


async def test_a_response_that_is_deleted_while_it_streams_is_charged_and_stays_deleted(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, pool: Pool, maker: Holder
) -> None:
    first, *others = events_of()
    gate = Gate()
    upstream.script(event_stream(first, gate, *others))
    upstream.always(Response())
    asked = {"model": "gpt-5.4-mini", "input": "x", "max_output_tokens": 50, "stream": True}
    async with http.stream("POST", "/responses", json=asked, headers=maker.headers) as got:
        pieces = got.aiter_bytes()
        assert await anext(pieces) == first
        deleted = await http.delete("/made/resp_1", headers=maker.headers)
        gate.open()
        _ = [piece async for piece in pieces]
    assert deleted.status_code == 200
    assert [charge["total"] for charge in await charges_of(pool, maker)] == [24]
    assert await statuses(http, maker, "/made/resp_1") == [404]
    # So are its items, which were named after that.
    live = "SELECT count(*) FROM objects WHERE parent_id = 'resp_1' AND deleted_at IS NULL"
    assert await pool.fetchval(live) == 0


async def test_a_file_that_is_taken_out_of_a_store_is_still_there(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, maker: Holder
) -> None:
    upstream.always(Response())
    for _ in range(2):
        taken = await http.delete("/kept/vs_9/files/file-9", headers=maker.headers)
        assert taken.status_code == 200
    assert await statuses(http, maker, "/kept/file-9") == [200]


async def test_a_version_is_known_by_its_number_behind_its_own_skill(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, maker: Holder, pool: Pool
) -> None:
    upstream.always(Response())
    other = await create_holder(pool)
    paths = ["/kept/skill_9/versions/3", "/kept/skill_9/versions/skillver_9"]
    assert await statuses(http, maker, *paths) == [200, 200]
    assert await statuses(http, other, *paths) == [404, 404]
    number, name = [await http.delete(path, headers=maker.headers) for path in paths]
    assert (number.status_code, name.status_code) == (200, 200)
    # Other versions have other numbers.
    assert await statuses(http, maker, *paths) == [200, 404]
