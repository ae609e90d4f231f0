"""Keys that were looked up within the last minute: checked by the statement of the hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.proxy.test_ended_keys import ENDS, second_key
from tests.support.books import account_of, create_holder, hold_states, placed
from tests.support.chat import CHAT
from tests.support.raw_requests import CHAT_PATH, connection_to
from tests.support.waiting import HOLD, client_of, message_of
from tokenbalance.books.ledger.book import Book
from tokenbalance.openai import estimate
from tokenbalance.people import remembered
from tokenbalance.people.callers import Callers

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

AMPLE = 10_000_000
BODY = orjson.dumps(CHAT)


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that were looked up, in order."""
    looked_up: list[bytes] = []
    look_up = Callers.look_up

    async def spying(callers: Callers, secret_sha256: bytes) -> object:
        looked_up.append(secret_sha256)
        return await look_up(callers, secret_sha256)

    monkeypatch.setattr(Callers, "look_up", spying)
    return looked_up


async def ask(
    http: httpx2.AsyncClient, holder: Holder, path: str = CHAT_PATH, **more: Any
) -> httpx2.Response:
    return await http.post(path, json={**CHAT, **more}, headers=holder.headers)


async def set_balance(pool: Pool, holder: Holder, balance: int) -> None:
    """Change it as another process does."""
    await pool.execute("UPDATE accounts SET balance = $2 WHERE id = $1", holder.account_id, balance)


async def remember(http: httpx2.AsyncClient, holder: Holder) -> None:
    assert (await ask(http, holder)).status_code == 200


async def test_the_next_request_of_a_key_is_not_looked_up(
    pool: Pool, http: httpx2.AsyncClient, look_ups: list[bytes]
) -> None:
    holder, other = await create_holder(pool, AMPLE), await create_holder(pool, AMPLE)
    for each in (holder, holder, other, holder, other):
        assert (await ask(http, each)).status_code == 200
    assert len(look_ups) == 2
    assert await hold_states(pool, holder) == ["settled"] * 3
    assert await hold_states(pool, other) == ["settled"] * 2


async def test_a_key_that_was_looked_up_too_long_ago_is_looked_up_again(
    pool: Pool,
    http: httpx2.AsyncClient,
    look_ups: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder = await create_holder(pool, AMPLE)
    monkeypatch.setattr(remembered, "REMEMBERED_S", 0.0)
    for _ in range(2):
        await remember(http, holder)
    assert len(look_ups) == 2


@ENDS
async def test_a_remembered_key_that_ends_is_refused_by_every_process(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, ended: str
) -> None:
    holder = await create_holder(pool, AMPLE)
    async with client_of(dsn, upstream) as one, client_of(dsn, upstream) as other:
        for http in (one, other):
            await remember(http, holder)
        await pool.execute(ended, holder.key_id)
        for http in (one, other, one):
            response = await ask(http, holder)
            assert (response.status_code, response.json()["error"]["code"]) == (
                (403, "missing_scope") if "scopes" in ended else (401, "invalid_api_key")
            )
    assert len(upstream.requests) == 2
    assert await hold_states(pool, holder) == ["settled"] * 2


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        (CHAT_PATH, {"messages": "x"}, 400),
        ("/v1/nothing", {}, 404),
    ],
)
async def test_whatever_is_wrong_with_a_request_its_ended_key_comes_first(
    pool: Pool, http: httpx2.AsyncClient, path: str, more: dict[str, Any], status: int
) -> None:
    holder = await create_holder(pool, AMPLE)
    await remember(http, holder)
    assert (await ask(http, holder, path, **more)).status_code == status
    await pool.execute("UPDATE api_keys SET revoked_at = now()")
    assert (await ask(http, holder, path, **more)).status_code == 401


async def test_a_balance_that_was_taken_away_elsewhere_is_refused_as_the_key_says_now(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, AMPLE)
    await remember(http, holder)
    await set_balance(pool, holder, 0)
    assert "1 credit or more, 0 are available (balance 0," in message_of(await ask(http, holder))
    await set_balance(pool, holder, AMPLE)
    await remember(http, holder)
    await set_balance(pool, holder, 5)
    await pool.execute("UPDATE api_keys SET insufficient_status = 429")
    response = await ask(http, holder)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")
    assert "5 are available" in response.json()["error"]["message"]
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("left", [0, 20, 2 * HOLD])
async def test_a_top_up_elsewhere_counts_at_once(
    pool: Pool, http: httpx2.AsyncClient, left: int
) -> None:
    holder = await create_holder(pool, AMPLE)
    await remember(http, holder)
    await set_balance(pool, holder, left)
    assert (await ask(http, holder)).status_code == (200 if left else 402)
    await set_balance(pool, holder, AMPLE)
    response = await ask(http, holder)
    assert response.status_code == 200
    assert "x-tokenbalance-output-cap" not in response.headers


async def test_an_output_is_capped_by_what_the_account_has_now(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, AMPLE)
    await remember(http, holder)
    await set_balance(pool, holder, 30)
    response = await ask(http, holder)
    # Of the 30 credits the counted prompt takes 9; by its bytes it would take more.
    assert response.headers["x-tokenbalance-hold"] == "30"
    assert response.headers["x-tokenbalance-output-cap"] == "21"
    assert upstream.requests[-1].json()["max_tokens"] == 21


async def test_an_account_near_its_limit_is_remembered_and_held_the_count(
    pool: Pool, http: httpx2.AsyncClient, look_ups: list[bytes]
) -> None:
    holder = await create_holder(pool, 10 * HOLD)
    for _ in range(3):
        assert (await ask(http, holder)).headers["x-tokenbalance-hold"] == str(HOLD)
    assert len(look_ups) == 1


async def test_a_long_text_is_not_counted_because_of_what_the_account_had(
    pool: Pool,
    http: httpx2.AsyncClient,
    look_ups: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder = await create_holder(pool, 100_000)
    await remember(http, holder)
    await set_balance(pool, holder, 100 * AMPLE)

    def count(*_: object) -> None:
        pytest.fail("the text was counted")

    monkeypatch.setattr(estimate, "count", count)
    text = [{"role": "user", "content": "all work and no play " * 400}]
    assert (await ask(http, holder, messages=text)).status_code == 200
    assert len(look_ups) == 2


async def test_a_request_that_does_not_fit_beside_open_holds_is_looked_up_and_told_of_them(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, look_ups: list[bytes]
) -> None:
    holder = await create_holder(pool, 4 * HOLD + 30)
    async with client_of(dsn, upstream, hold_wait_s=0) as http:
        await remember(http, holder)
        hold = await placed(Book(pool), holder, "a", 3 * HOLD)
        response = await ask(http, holder)
        assert (response.status_code, response.json()["error"]["code"]) == (429, "balance_held")
        await Book(pool).void(hold)
        assert len(look_ups) == 2
        # What it had at the last look-up is not enough for a try.
        await remember(http, holder)
        assert len(look_ups) == 3
    assert (await account_of(pool, holder)).held == 0


async def test_what_costs_nothing_and_what_is_long_or_waits_for_leave_is_looked_up(
    pool: Pool, product: str, look_ups: list[bytes]
) -> None:
    holder = await create_holder(pool, AMPLE)
    requests = [
        (CHAT_PATH, "", BODY),
        ("/v1/moderations", "", b'{"input": "I want to hug you"}'),
        (CHAT_PATH, "", BODY + b" " * 65536),
        (CHAT_PATH, "Expect: 100-continue\r\n", BODY),
    ]
    async with connection_to(product) as connection:
        for number, (path, more, body) in enumerate(requests, 1):
            connection.begin(holder, len(body), path, more, b"" if more else body)
            if more:
                assert (await connection.response()).status == 100
                await connection.send(body)
            assert (await connection.response()).status == 200
            assert len(look_ups) == number


async def test_a_key_that_ended_is_refused_what_costs_nothing(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, AMPLE)
    await remember(http, holder)
    await pool.execute("UPDATE api_keys SET revoked_at = now()")
    assert (await ask(http, holder, "/v1/moderations", input="x")).status_code == 401


async def test_what_another_key_of_the_account_found_out_is_no_reason_to_refuse(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, 0)
    other = await second_key(pool, holder)
    assert (await ask(http, holder)).status_code == 402
    await set_balance(pool, holder, AMPLE)
    await remember(http, other)
    await remember(http, holder)


async def test_a_scope_that_is_given_counts_at_once(pool: Pool, http: httpx2.AsyncClient) -> None:
    holder = await create_holder(pool, AMPLE)
    await pool.execute("UPDATE api_keys SET scopes = '{read}'")
    assert (await ask(http, holder)).status_code == 403
    await pool.execute("UPDATE api_keys SET scopes = '{inference}'")
    await remember(http, holder)


async def test_what_a_charge_leaves_is_known_to_the_next_request(
    pool: Pool, http: httpx2.AsyncClient, look_ups: list[bytes]
) -> None:
    holder = await create_holder(pool, 10 * HOLD)
    await remember(http, holder)
    await set_balance(pool, holder, AMPLE)
    held = [int((await ask(http, holder)).headers["x-tokenbalance-hold"]) for _ in range(2)]
    # With so much its text need not be counted.
    assert held[0] == HOLD < held[1]
    assert len(look_ups) == 1


async def test_a_key_that_ended_is_refused_before_a_long_body_is_sent(
    pool: Pool, http: httpx2.AsyncClient, product: str
) -> None:
    holder = await create_holder(pool, AMPLE)
    await remember(http, holder)
    await pool.execute("UPDATE api_keys SET revoked_at = now()")
    async with connection_to(product) as connection:
        connection.begin(holder, 65537)
        assert (await connection.response()).status == 401
