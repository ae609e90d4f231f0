"""Stored responses and chats: read again for nothing, by their owner alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import orjson
import pytest

from tests.support.books import create_holder
from tests.support.product import serving
from tests.support.remembering import Remembering
from tests.support.responses import event_stream, json_response
from tests.support.upstream import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Document

MODEL = "gpt-4o-mini"
ASKED: dict[str, Any] = {"model": MODEL, "input": "How are you?", "max_output_tokens": 40}
CHAT: Document = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


@dataclass(frozen=True)
class Client:
    """Two people who talk to the product, and an upstream that remembers."""

    http: httpx2.AsyncClient
    pool: Pool
    upstream: ScriptedUpstream
    maker: Holder
    other: Holder

    async def send(
        self, method: str, path: str, holder: Holder | None = None, **fields: Any
    ) -> httpx2.Response:
        headers = (holder or self.maker).headers
        return await self.http.request(method, path, headers=headers, **fields)

    async def charges(self) -> list[int]:
        """What was charged, in order."""
        rows = await self.pool.fetch("SELECT amount FROM ledger WHERE kind = 'charge' ORDER BY id")
        return [-row["amount"] for row in rows]


@pytest.fixture
async def client(pool: Pool, dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[Client]:
    upstream.always(Remembering())
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30) as http,
    ):
        people = [await create_holder(pool, 1_000_000) for _ in range(2)]
        yield Client(http, pool, upstream, *people)


async def test_reading_a_response_again_costs_nothing_and_is_its_makers(client: Client) -> None:
    made = await client.send("POST", "/responses", json=ASKED)
    paid = await client.charges()
    items: Document = {
        "object": "list",
        "data": [{"id": "msg_0", "type": "message"}],
        "has_more": False,
    }
    cancelled = {**made.json(), "status": "cancelled"}
    deleted: Document = {"id": "resp_1", "object": "response.deleted", "deleted": True}
    reads = [
        ("GET", "/responses/resp_1", made.json()),
        ("GET", "/responses/resp_1?beta=true", made.json()),
        ("GET", "/responses/resp_1/input_items", items),
        ("POST", "/responses/resp_1/cancel", cancelled),
        ("POST", "/responses/resp_1/cancel?beta=true", cancelled),
        ("DELETE", "/responses/resp_1", deleted),
    ]
    for method, path, said in reads:
        before = len(client.upstream.requests)
        theirs = await client.send(method, path, client.other)
        assert (theirs.status_code, len(client.upstream.requests)) == (404, before)
        client.upstream.script(json_response(said))
        own = await client.send(method, path)
        assert (own.status_code, own.json()) == (200, said)
        assert client.upstream.requests[-1].target == b"/v1" + path.encode()
        assert not any(name.startswith("x-tokenbalance-charge") for name in own.headers)
    assert (await client.send("GET", "/responses/resp_1")).status_code == 404
    continued = {**ASKED, "previous_response_id": "resp_1"}
    assert (await client.send("POST", "/responses", json=continued)).status_code == 404
    assert await client.charges() == paid
    # An item that was read is the caller's as well, as long as its response is there.
    item = {**ASKED, "input": [{"type": "item_reference", "id": "msg_0"}]}
    assert (await client.send("POST", "/responses", json=item)).status_code == 404


async def test_a_stream_is_resumed_as_events_and_charged_once(client: Client) -> None:
    whole = await client.send("POST", "/responses", json={**ASKED, "stream": True})
    paid = await client.charges()
    assert len(paid) == 1
    rest = whole.content[whole.content.rindex(b"data: ") :]
    client.upstream.script(event_stream(rest))
    query = "?stream=true&starting_after=1&include[]=reasoning.encrypted_content&api-version=9"
    resumed = await client.send("GET", f"/responses/resp_1{query}")
    assert resumed.content == rest
    assert resumed.headers["content-type"].startswith("text/event-stream")
    target = client.upstream.requests[-1].target.partition(b"?")
    assert target[0] == b"/v1/responses/resp_1"
    names = {part.partition(b"=")[0] for part in target[2].split(b"&")}
    assert {b"stream", b"starting_after"} < names
    assert b"api-version" not in names
    # What it had used is known from its stream: nobody is asked how much a next one reads.
    before = len(client.upstream.requests)
    next_one = await client.send(
        "POST", "/responses", json={**ASKED, "previous_response_id": "resp_1"}
    )
    assert len(client.upstream.requests) == before + 1
    charge = int(next_one.headers["x-tokenbalance-charge"])
    assert paid[0] < charge <= int(next_one.headers["x-tokenbalance-hold"])
    assert await client.charges() == [*paid, charge]


async def test_a_compaction_is_held_for_by_what_it_reads_and_charged_by_its_usage(
    client: Client,
) -> None:
    await client.send("POST", "/responses", json=ASKED)
    usage: Document = {"input_tokens": 150, "output_tokens": 300, "total_tokens": 450}
    compaction: Document = {"id": "cmp_1", "type": "compaction", "encrypted_content": "x" * 900}
    compacted: Document = {
        "id": "resp_c",
        "object": "response.compaction",
        "output": [compaction],
        "usage": usage,
    }
    client.upstream.script(json_response(compacted))
    body: Document = {"model": MODEL, "previous_response_id": "resp_1", "input": []}
    response = await client.send("POST", "/responses/compact", json=body)
    assert response.json() == compacted
    assert int(response.headers["x-tokenbalance-charge"]) == 450
    assert int(response.headers["x-tokenbalance-hold"]) > 16_384 + 1_024 + 40
    theirs = await client.send("POST", "/responses/compact", client.other, json=body)
    assert (theirs.status_code, theirs.json()["error"]["param"]) == (404, "previous_response_id")
    # Its items go on as what they are.
    client.upstream.script(json_response({**compacted, "id": "resp_d", "status": "completed"}))
    items = {**ASKED, "input": [compaction, {"role": "user", "content": "Hi"}]}
    assert (await client.send("POST", "/responses", json=items)).status_code == 200


async def test_a_stored_chat_is_read_changed_and_deleted_by_its_maker(client: Client) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "store": True}
    client.upstream.script(json_response(CHAT))
    await client.send("POST", "/chat/completions", json=body)
    paid = await client.charges()
    messages: Document = {"object": "list", "data": [{"id": "chatcmpl-1-0", "role": "user"}]}
    deleted = {"id": "chatcmpl-1", "object": "chat.completion.deleted", "deleted": True}
    for method, path, json, said in [
        ("GET", "", None, CHAT),
        ("POST", "", {"metadata": {"a": "b"}}, {**CHAT, "metadata": {"a": "b"}}),
        ("GET", "/messages", None, messages),
        ("DELETE", "", None, deleted),
    ]:
        target = f"/chat/completions/chatcmpl-1{path}"
        theirs = await client.send(method, target, client.other, json=json)
        assert theirs.status_code == 404
        client.upstream.script(Response(body=orjson.dumps(said)))
        own = await client.send(method, target, json=json)
        assert (own.status_code, own.json()) == (200, said)
    assert await client.charges() == paid
    assert (await client.send("GET", "/chat/completions/chatcmpl-1")).status_code == 404
