"""Limits that are counted: each refuses and lets pass, and says when the next attempt succeeds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import account_of, end_leases, hold_states
from tests.support.chat import CHAT
from tests.support.limited_keys import create_limited
from tokenbalance.proxy.limits import storms

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions

CHATS = "/v1/chat/completions"
TOKENS = 9 + 50
"""What `CHAT` wants: 9 tokens of input, and an output of 50."""
UNLIMITED: dict[str, Any] = {key: value for key, value in CHAT.items() if key != "max_tokens"}
DEAR: dict[str, Any] = {**CHAT, "messages": [{"role": "user", "content": "word " * 2000}]}


async def ask(
    http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any] = CHAT, **headers: str
) -> httpx2.Response:
    return await http.post(CHATS, json=body, headers={**holder.headers, **headers})


def error_of(response: httpx2.Response) -> dict[str, Any]:
    return response.json()["error"]


async def pass_time(pool: Pool, holder: Holder, milliseconds: int) -> None:
    """Let rates regain as if so much time had passed."""
    await pool.execute(
        "UPDATE limits SET taken_until = taken_until - $2 * interval '1 ms' WHERE account_id = $1",
        holder.account_id,
        milliseconds,
    )


@pytest.mark.parametrize(
    ("limits", "taken", "kind", "words"),
    [
        ({"requests_per_minute": 2}, 2, "requests", "requests per min (RPM): Limit 2, Used 2"),
        ({"tokens_per_minute": TOKENS}, 1, "tokens", "tokens per min (TPM): Limit 59, Used"),
        ({"tokens_per_day": 100}, 7, "tokens_per_day", "tokens per day (TPD): Limit 100, Used"),
        ({"credits_per_day": 100}, 7, "credits_per_day", "credits per day: Limit 100, Used"),
        ({"credits_per_week": 100}, 7, "credits_per_week", "credits per week: Limit 100"),
        ({"credits_per_month": 100}, 7, "credits_per_month", "credits per month: Limit 100"),
    ],
)
@pytest.mark.parametrize("of_account", [False, True])
async def test_a_limit_refuses_what_does_not_fit_and_says_when_it_will(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    limits: dict[str, Any],
    taken: int,
    kind: str,
    words: str,
    *,
    of_account: bool,
) -> None:
    holder = (
        await create_limited(pool, sessions, account=limits)
        if of_account
        else await create_limited(pool, sessions, limits)
    )
    answers = [await ask(http, holder)]
    while answers[-1].status_code == 200 and len(answers) < 12:
        answers.append(await ask(http, holder))
    refused = answers.pop()
    assert len(answers) >= 1
    assert len(answers) <= taken
    assert len(upstream.requests) == len(answers)
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
    assert error_of(refused)["type"] == kind
    assert words in error_of(refused)["message"]
    subject = "account" if of_account else "key"
    assert refused.headers["x-tokenbalance-limit"] == f"{subject}.{next(iter(limits))}"
    retry_ms = int(refused.headers["retry-after-ms"])
    assert int(refused.headers["retry-after"]) == -(-retry_ms // 1000)
    assert 0 < retry_ms <= 60_000 if "minute" in next(iter(limits)) else retry_ms > 0
    assert "x-should-retry" not in refused.headers
    assert await hold_states(pool, holder) == ["settled"] * len(answers)


async def test_a_rate_admits_again_exactly_when_it_has_said(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storms, "REMEMBERED_S", 0.0)
    for limits in ({"requests_per_minute": 1}, {"tokens_per_minute": TOKENS}):
        holder = await create_limited(pool, sessions, limits)
        assert (await ask(http, holder)).status_code == 200
        refused = await ask(http, holder)
        assert refused.status_code == 429, limits
        retry_ms = int(refused.headers["retry-after-ms"])
        await pass_time(pool, holder, retry_ms - 20_000)
        assert (await ask(http, holder)).status_code == 429
        await pass_time(pool, holder, 20_000)
        assert (await ask(http, holder)).status_code == 200


@pytest.mark.parametrize("name", ["tokens_per_minute", "tokens_per_day", "credits_per_day"])
async def test_a_small_limit_answers_small_questions_with_a_lower_cap(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, upstream: ScriptedUpstream, name: str
) -> None:
    holder = await create_limited(pool, sessions, {name: 500})
    response = await ask(http, holder, UNLIMITED)
    assert response.status_code == 200, response.text
    assert response.headers["x-tokenbalance-output-cap"] == str(500 - 9)
    assert upstream.requests[0].json()["max_completion_tokens"] == 500 - 9
    used = response.json()["usage"]["total_tokens"]
    row = await pool.fetchrow(
        "SELECT used, reserved FROM limits WHERE account_id = $1", holder.account_id
    )
    assert row is not None
    assert tuple(row) == ((0, 0) if name == "tokens_per_minute" else (used, 0))


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("tokens_per_minute", 429, "rate_limit_exceeded"),
        ("tokens_per_day", 429, "rate_limit_exceeded"),
        ("credits_per_month", 429, "rate_limit_exceeded"),
        ("credits_per_request", 402, "request_too_expensive"),
        ("credits_total", 402, "insufficient_quota"),
    ],
)
async def test_an_input_that_is_more_than_a_limit_never_fits(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    name: str,
    status: int,
    code: str,
) -> None:
    holder = await create_limited(pool, sessions, {name: 500})
    for _ in range(2):
        response = await ask(http, holder, DEAR)
        assert (response.status_code, error_of(response)["code"]) == (status, code)
        assert response.headers["x-tokenbalance-limit"] == f"key.{name}"
        assert response.headers["x-should-retry"] == "false"
        assert "retry-after" not in response.headers
        assert "this key" in error_of(response)["message"]
    assert upstream.requests == []
    assert (await account_of(pool, holder)).held == 0


async def test_one_request_is_capped_before_it_is_too_expensive(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"credits_per_request": 30})
    for _ in range(2):
        response = await ask(http, holder)
        assert response.status_code == 200
        assert response.headers["x-tokenbalance-output-cap"] == str(30 - 9)
        assert response.headers["x-tokenbalance-hold"] == "30"


async def test_a_key_that_has_used_up_its_credits_is_named(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"credits_total": 40})
    answers = [await ask(http, holder) for _ in range(4)]
    assert answers[0].status_code == 200
    last = answers[-1]
    assert (last.status_code, error_of(last)["code"]) == (402, "insufficient_quota")
    assert "credits of this key" in error_of(last)["message"]
    assert last.headers["x-tokenbalance-limit"] == "key.credits_total"


async def test_headers_tell_the_truth_of_the_next_refusal(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(
        pool,
        sessions,
        {"requests_per_minute": 3, "tokens_per_minute": 10_000},
        account={"requests_per_minute": 100},
    )
    for left in (2, 1, 0):
        response = await ask(http, holder)
        assert response.status_code == 200
        assert response.headers["x-ratelimit-limit-requests"] == "3"
        assert response.headers["x-ratelimit-remaining-requests"] == str(left)
        assert response.headers["x-ratelimit-limit-tokens"] == "10000"
        assert int(response.headers["x-ratelimit-remaining-tokens"]) <= 10_000 - TOKENS
        reset = response.headers["x-ratelimit-reset-requests"]
        assert re.fullmatch(r"(\d+h)?(\d+m)?[\d.]+m?s", reset)
    refused = await ask(http, holder)
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert "x-ratelimit-limit-tokens" in refused.headers


async def test_a_key_without_limits_has_no_such_headers(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions)
    response = await ask(http, holder)
    assert not any(name.startswith("x-ratelimit") for name in response.headers)


async def test_the_hold_of_a_dead_process_gives_back_what_it_took(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"parallel_requests": 1})
    assert (await ask(http, holder)).status_code == 200
    await end_leases(pool)
    assert (await ask(http, holder)).status_code == 200
    reserved = "SELECT reserved FROM limits WHERE account_id = $1"
    assert await pool.fetchval(reserved, holder.account_id) == 0
