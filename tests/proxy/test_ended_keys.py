"""Keys that end while a request is on its way: between head and body, or while it waits."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder, hold_states, place, placed
from tests.support.chat import CHAT
from tests.support.raw_requests import connection_to
from tests.support.security_log import lines
from tests.support.waiting import (
    AT_ONCE_S,
    HOLD,
    PATIENCE_S,
    client_of,
    gated,
    until_waiting,
)
from tokenbalance.books.ledger.book import Book
from tokenbalance.events import refusals
from tokenbalance.events.security import NAME
from tokenbalance.model import CLI
from tokenbalance.people.key_ends import revoke_key
from tokenbalance.people.keys import create_key
from tokenbalance.people.secrets import new_secret, prefix, sha256
from tokenbalance.proxy import reading

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions

BODY = orjson.dumps(CHAT)
REVOKED = "UPDATE api_keys SET revoked_at = now() WHERE id = $1"
ENDS = pytest.mark.parametrize(
    "ended",
    [
        REVOKED,
        "UPDATE api_keys SET expires_at = now() WHERE id = $1",
        "UPDATE api_keys SET scopes = '{read,manage}' WHERE id = $1",
        "UPDATE api_keys SET secret_sha256 = sha256('new') WHERE id = $1",
        """
        UPDATE users u SET is_active = false
          FROM accounts a JOIN api_keys k ON k.account_id = a.id
         WHERE a.user_id = u.id AND k.id = $1
        """,
    ],
    ids=["revoked", "expired", "out of scope", "rotated", "disabled"],
)


def assert_ended(response: httpx2.Response) -> None:
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (401, "invalid_api_key")
    assert "Nothing was sent or charged" in error["message"]
    assert response.headers["www-authenticate"] == "Bearer"


async def second_key(pool: Pool, holder: Holder) -> Holder:
    """Give the account another key."""
    secret = new_secret()
    key_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256) VALUES ($1, $2, $3) RETURNING id",
        holder.account_id,
        prefix(secret),
        sha256(secret),
    )
    return type(holder)(holder.user_id, holder.account_id, key_id, secret)


@ENDS
async def test_a_key_that_ends_between_head_and_body_dispatches_nothing(
    pool: Pool, product: str, upstream: ScriptedUpstream, ended: str
) -> None:
    holder, other = await create_holder(pool, 10_000_000), await create_holder(pool, 1000)
    async with connection_to(product) as connection, connection_to(product) as others:
        connection.begin(holder, len(BODY), more="Expect: 100-continue\r\n")
        # The product asks for the body after it has looked the key up.
        assert (await connection.response()).status == 100
        await pool.execute(ended, holder.key_id)
        await connection.send(BODY)
        response = await connection.response()
        others.begin(other, len(BODY), body=BODY)
        assert (await others.response()).status == 200
    assert (response.status, response.error["code"]) == (401, "invalid_api_key")
    assert "Nothing was sent or charged" in response.error["message"]
    assert len(upstream.requests) == 1
    assert await hold_states(pool, holder) == []


@ENDS
async def test_of_many_holds_in_one_statement_only_those_of_ended_keys_are_not_placed(
    pool: Pool, ended: str
) -> None:
    book = Book(pool)
    holders = [await create_holder(pool, 100) for _ in range(4)]
    await pool.execute(ended, holders[1].key_id)
    many = await asyncio.gather(*(place(book, holder, "a", 10) for holder in holders))
    assert [hold is not None for hold in many] == [True, False, True, True]
    of_one = await asyncio.gather(*(place(book, holders[1], f"b{n}", 10) for n in range(3)))
    assert of_one == [None] * 3
    assert await hold_states(pool, holders[1]) == []


@ENDS
async def test_a_key_that_ends_in_the_queue_for_a_hold_is_refused_at_once(
    dsn: str,
    pool: Pool,
    upstream: ScriptedUpstream,
    ended: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=NAME)
    refusals._windows.clear()
    holder = await create_holder(pool, HOLD)
    _ = await placed(Book(pool), holder, "a", HOLD)
    async with client_of(dsn, upstream) as client:
        waiting = client.begin(holder)
        await until_waiting(pool, 1)
        await pool.execute(ended, holder.key_id)
        async with asyncio.timeout(AT_ONCE_S):
            assert_ended(await waiting)
        await until_waiting(pool, 0)
    assert upstream.requests == []
    (line,) = lines(caplog)
    assert (line["event"], line["user"], line["key_id"]) == (
        "key.refused",
        holder.user_id,
        holder.key_id,
    )
    assert line["reason"] in {"revoked", "expired", "user_disabled", "ended"}


async def test_a_key_ends_with_its_maker_in_the_queue_and_between_head_and_body(
    dsn: str, product: str, pool: Pool, sessions: Sessions, upstream: ScriptedUpstream
) -> None:
    maker, holder = await create_holder(pool), await create_holder(pool, HOLD)
    async with sessions.begin() as session:
        key, secret = await create_key(
            session, holder.account_id, by_key_id=maker.key_id, actor=CLI
        )
    made = type(holder)(holder.user_id, holder.account_id, key.id, secret)
    _ = await placed(Book(pool), holder, "a", HOLD - 1)
    async with client_of(dsn, upstream) as client, connection_to(product) as connection:
        waiting = client.begin(made)
        await until_waiting(pool, 1)
        connection.begin(made, len(BODY), more="Expect: 100-continue\r\n")
        assert (await connection.response()).status == 100
        async with sessions.begin() as session:
            assert (await revoke_key(session, maker.key_id, actor=CLI)).with_it == 1
        async with asyncio.timeout(AT_ONCE_S):
            assert_ended(await waiting)
        await connection.send(BODY)
        response = await connection.response()
    assert (response.status, response.error["code"]) == (401, "invalid_api_key")
    assert upstream.requests == []


async def test_far_back_in_the_queue_too_and_requests_with_another_key_wait_on(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, HOLD * 12)
    doomed = await second_key(pool, holder)
    hold = await placed(Book(pool), holder, "a", HOLD * 12)
    gates = gated(upstream, 12)
    async with client_of(dsn, upstream) as one, client_of(dsn, upstream) as other:
        ahead = [one.begin(holder) for _ in range(10)]
        await until_waiting(pool, 10)
        refused = one.begin(doomed), other.begin(doomed)
        await until_waiting(pool, 12)
        await pool.execute(REVOKED, doomed.key_id)
        async with asyncio.timeout(AT_ONCE_S):
            for response in await asyncio.gather(*refused):
                assert_ended(response)
        assert not any(task.done() for task in ahead)
        for gate in gates:
            gate.open()
        await Book(pool).void(hold)
        async with asyncio.timeout(PATIENCE_S):
            responses = await asyncio.gather(*ahead)
        assert {response.status_code for response in responses} == {200}
    assert len(upstream.requests) == 10


async def test_a_free_request_looks_its_key_up_again_after_a_slow_body(
    pool: Pool, product: str, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await create_holder(pool)
    monkeypatch.setattr(reading, "RECHECK_AFTER_S", 0.0)
    body = b'{"input": "I want to hug you"}'
    async with connection_to(product) as connection:
        for revoked, status in [(False, 200), (True, 401)]:
            connection.begin(holder, len(body), "/v1/moderations", "Expect: 100-continue\r\n")
            assert (await connection.response()).status == 100
            if revoked:
                await pool.execute(REVOKED, holder.key_id)
            await connection.send(body)
            assert (await connection.response()).status == status
    assert len(upstream.requests) == 1
