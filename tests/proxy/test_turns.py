"""One request at a time adds to a conversation, so that holds cover what is read of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import account_of, create_holder
from tests.support.product import serving
from tests.support.remembering import COUNTS, Remembering
from tests.support.responses import Gate, Response, json_response
from tokenbalance.model.objects import Found
from tokenbalance.owners.registry import Owners
from tokenbalance.proxy import turns

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tests.support.upstream import Received, ScriptedUpstream
    from tokenbalance.database.connections import Pool

NAME = "conv_1"
BODY: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "input": "Hi",
    "conversation": NAME,
    "max_output_tokens": 40,
}
ITEMS: dict[str, Any] = {"items": [{"role": "user", "content": "word " * 50}]}
WRITE = f"/conversations/{NAME}/items"


async def holder_of(pool: Pool, balance: int = 6000) -> Holder:
    holder = await create_holder(pool, balance)
    await Owners(pool).record(holder.caller, [Found("conversation", NAME)])
    return holder


def sent(upstream: ScriptedUpstream) -> list[str]:
    return [each.target.decode().removeprefix("/v1/") for each in upstream.requests]


async def test_requests_and_writes_of_one_conversation_take_turns_and_are_covered(
    pool: Pool, dsn: str, upstream: ScriptedUpstream
) -> None:
    memory, gate = Remembering(output_tokens=1_000), Gate()
    memory.stored[NAME] = 1_000

    def answer(received: Received) -> Response:
        if not received.target.startswith(b"/v1/responses"):
            return json_response({"object": "list", "data": []})
        made = memory(received)
        if received.target == COUNTS:
            return made
        return Response(headers=made.headers, body=[gate, *made.parts])

    upstream.always(answer)
    holder = await holder_of(pool)
    body = {**BODY, "max_output_tokens": 1_000}
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30, headers=holder.headers) as http,
    ):
        first = asyncio.create_task(http.post("/responses", json=body))
        await gate.reached.wait()
        others = [
            asyncio.create_task(http.post("/responses", json=body)),
            asyncio.create_task(http.post(WRITE, json=ITEMS)),
            asyncio.create_task(http.post("/responses", json=body)),
        ]
        # What is of no conversation does not wait; by then the others have had every chance.
        for _ in range(8):
            await http.get("/models")
        seen = sent(upstream)
        seen = [each for each in seen if each != "models"]
        gate.open()
        responses = [await each for each in (first, *others)]
    assert seen == ["responses/input_tokens", "responses"]
    for response in responses:
        if "x-tokenbalance-charge" in response.headers:
            held, charged = (
                int(response.headers[f"x-tokenbalance-{name}"]) for name in ("hold", "charge")
            )
            assert charged <= held
    assert {each.status_code for each in responses} <= {200, 402}
    account = await account_of(pool, holder)
    assert account.balance >= 0
    assert account.held == 0
    assert await pool.fetchval("SELECT max(overrun) FROM ledger WHERE kind = 'charge'") == 0
    assert await pool.fetchval("SELECT busy_by FROM objects WHERE object_id = $1", NAME) is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/responses", BODY),
        (WRITE, ITEMS),
        (f"/conversations/{NAME}", ITEMS),
        ("/new/things", {"conversation_id": NAME}),
        (f"/new/{NAME}", {}),
    ],
)
@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_who_waits_in_vain_is_told_which_conversation_is_busy(
    pool: Pool,
    dsn: str,
    upstream: ScriptedUpstream,
    path: str,
    body: dict[str, Any],
    is_elsewhere: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "GRACE_S", 0.05)
    memory, gate = Remembering(), Gate()
    upstream.always(memory)
    holder = await holder_of(pool, 10**6)
    async with (
        serving(dsn, upstream.base_url, hold_wait_s=0, unknown_endpoints="meter") as url,
        serving(dsn, upstream.base_url, hold_wait_s=0, unknown_endpoints="meter") as other,
        httpx2.AsyncClient(timeout=30, headers=holder.headers) as http,
    ):
        upstream.script(memory, Response(head_gate=gate))
        first = asyncio.create_task(http.post(f"{url}/v1/responses", json=BODY))
        await upstream.received(2)
        busy_s = await pool.fetchval("SELECT extract(epoch FROM busy_until - now()) FROM objects")
        refused = await http.post(f"{other if is_elsewhere else url}/v1{path}", json=body)
        gate.open()
        await first
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "5"
    error = refused.json()["error"]
    assert (error["code"], NAME in error["message"]) == ("rate_limit_exceeded", True)
    assert len(upstream.requests) == 2
    # As long as it stays busy if its process dies.
    assert busy_s <= 30


async def test_what_adds_nothing_to_a_conversation_does_not_wait(
    pool: Pool, dsn: str, upstream: ScriptedUpstream
) -> None:
    holder = await holder_of(pool)
    owners = Owners(pool)
    assert await owners.occupy(holder.account_id, NAME, "a", 30, kind="conversation")
    await owners.record(holder.caller, [Found("item", "msg_1", NAME)])
    gone = json_response({"id": NAME, "object": "conversation", "deleted": True})
    upstream.script(json_response({"id": NAME}), json_response({"id": NAME}), gone)
    async with (
        serving(dsn, upstream.base_url, hold_wait_s=0) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30, headers=holder.headers) as http,
    ):
        path = f"/conversations/{NAME}"
        changed = await http.post(path, json={"metadata": {"title": "New"}})
        cut = await http.delete(f"{path}/items/msg_1")
        deleted = await http.delete(path)
    assert [each.status_code for each in (changed, cut, deleted)] == [200, 200, 200]


async def test_a_request_takes_over_from_another_process_when_that_is_done(
    pool: Pool, dsn: str, upstream: ScriptedUpstream
) -> None:
    memory = Remembering()
    upstream.script(json_response({"object": "list", "data": []}), memory, memory)
    holder = await holder_of(pool, 10**6)
    owners = Owners(pool)
    assert await owners.occupy(holder.account_id, NAME, "a", 30, kind="conversation")
    assert not await owners.occupy(holder.account_id, NAME, "b", 30, kind="conversation")
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=f"{url}/v1", timeout=30, headers=holder.headers) as http,
    ):
        waiting = asyncio.create_task(http.post("/responses", json=BODY))
        await http.get("/models")
        assert "responses/input_tokens" not in sent(upstream)
        await owners.vacate(holder.account_id, NAME, "a", kind="conversation")
        assert (await waiting).status_code == 200


async def test_a_process_that_died_keeps_a_conversation_no_longer_than_its_lease(
    pool: Pool,
) -> None:
    holder = await holder_of(pool)
    owners = Owners(pool)
    assert await owners.occupy(holder.account_id, NAME, "dead", -1, kind="conversation")
    assert await owners.occupy(holder.account_id, NAME, "alive", 30, kind="conversation")
    await owners.vacate(holder.account_id, NAME, "dead", kind="conversation")
    assert not await owners.occupy(holder.account_id, NAME, "late", 30, kind="conversation")


async def test_a_conversation_is_free_for_the_next_turn_at_any_process(
    pool: Pool, dsn: str, upstream: ScriptedUpstream
) -> None:
    upstream.always(Remembering())
    holder = await holder_of(pool, 10**6)
    async with (
        serving(dsn, upstream.base_url, hold_wait_s=0) as url,
        serving(dsn, upstream.base_url, hold_wait_s=0) as other,
        httpx2.AsyncClient(timeout=30, headers=holder.headers) as http,
    ):
        for base in [url, other] * 3 + [url] * 3:
            response = await http.post(f"{base}/v1/responses", json=BODY)
            assert response.status_code == 200
