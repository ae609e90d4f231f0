"""Accounts without a credit left: refused on the head of a request, before its body is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder, hold_states, placed
from tests.support.chat import CHAT
from tests.support.raw_requests import connection_to
from tests.support.waiting import HOLD, PATIENCE_S, client_of, message_of, until_waiting
from tokenbalance.books.ledger.book import Book
from tokenbalance.people.callers import Callers
from tokenbalance.proxy.ending import Ending
from tokenbalance.wire.client.request import ClientRequest

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

MANY = 10_000_000
BODY = orjson.dumps(CHAT)


async def test_an_empty_account_is_refused_before_a_byte_of_the_body_is_sent(
    pool: Pool, product: str, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 0)
    async with connection_to(product) as connection:
        connection.begin(holder, MANY)
        response = await connection.response()
        assert await connection.ends()
    assert (response.status, response.error["code"]) == (402, "insufficient_quota")
    assert response.error["message"] == (
        "Insufficient balance: this request needs 1 credit or more, 0 are available (balance 0,"
        " held by requests in progress 0)."
    )
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-tokenbalance-request-id"].startswith("tb_")
    assert response.headers["connection"] == "close"
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []


async def test_a_client_that_waits_for_leave_to_send_its_body_never_gets_it(
    pool: Pool, product: str
) -> None:
    holder = await create_holder(pool, 0)
    async with connection_to(product) as connection:
        connection.begin(holder, MANY, more="Expect: 100-continue\r\n")
        assert (await connection.response()).status == 402


async def test_a_client_that_sends_on_still_reads_the_refusal(pool: Pool, product: str) -> None:
    holder = await create_holder(pool, 0)
    async with connection_to(product) as connection:
        connection.begin(holder, MANY)
        for _ in range(16):
            await connection.send(bytes(64 * 1024))
        assert (await connection.response()).status == 402


async def test_the_body_of_an_empty_account_is_never_read(
    pool: Pool, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, 0)

    async def read_body(*_: object) -> bytes:
        pytest.fail("the body was read")

    monkeypatch.setattr(ClientRequest, "read_body", read_body)
    response = await http.post("/v1/chat/completions", content=b"{", headers=holder.headers)
    assert "(balance 0, held by" in message_of(response)


async def test_a_refused_request_that_arrived_whole_leaves_its_connection_in_order(
    pool: Pool, product: str
) -> None:
    empty, other = await create_holder(pool, 0), await create_holder(pool, 1000)
    async with connection_to(product) as connection:
        for holder, status in [(empty, 402), (other, 200), (empty, 402)]:
            connection.begin(holder, len(BODY), body=BODY)
            assert (await connection.response()).status == status


async def test_the_status_is_that_of_the_setting_or_of_the_key(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, -5)
    async with client_of(dsn, upstream, insufficient_status=429) as client:
        response = await client.ask(holder)
        assert (response.status_code, response.json()["error"]["code"]) == (
            429,
            "insufficient_quota",
        )
        assert "retry-after" not in response.headers
        await pool.execute("UPDATE api_keys SET insufficient_status = 402")
        assert "(balance -5, held by" in message_of(await client.ask(holder))


async def test_an_overdraft_can_be_spent_though_the_balance_is_empty(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, 0, overdraft=1000)
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 200


async def test_a_balance_that_is_held_to_the_last_credit_is_waited_for(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, HOLD)
    hold = await placed(Book(pool), holder, "a", HOLD)
    async with client_of(dsn, upstream) as client, asyncio.timeout(PATIENCE_S):
        waiting = client.begin(holder)
        await until_waiting(pool, 1)
        await Book(pool).void(hold)
        assert (await waiting).status_code == 200


async def test_what_costs_nothing_is_served_without_a_credit(pool: Pool, product: str) -> None:
    holder = await create_holder(pool, 0)
    body = b'{"input": "I want to hug you"}'
    async with connection_to(product) as connection:
        connection.begin(holder, len(body), "/v1/moderations", body=body)
        assert (await connection.response()).status == 200


async def test_a_balance_that_covers_too_little_is_refused_without_a_try(
    pool: Pool, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, 5)

    def place(*_: object) -> None:
        pytest.fail("a hold was tried")

    with monkeypatch.context() as patch:
        patch.setattr(Ending, "place", place)
        response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert message_of(response) == (
        "Insufficient balance: this request needs 10 credits, 5 are available (balance 5, held by"
        " requests in progress 0)."
    )


async def test_a_top_up_after_the_key_was_looked_up_counts(
    pool: Pool, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool, 5)
    look_up = Callers.look_up

    async def topped_up(callers: Callers, secret_sha256: bytes) -> object:
        caller = await look_up(callers, secret_sha256)
        await pool.execute("UPDATE accounts SET balance = 1000")
        return caller

    monkeypatch.setattr(Callers, "look_up", topped_up)
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 200
