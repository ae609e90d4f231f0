"""What costs nothing has a rate for each account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.clock import Clock
from tests.support.waiting import client_of
from tokenbalance.errors import TooManyRequests
from tokenbalance.proxy import free_rate
from tokenbalance.proxy.free_rate import FreeRate

if TYPE_CHECKING:
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(free_rate, "time", clock)
    return clock


def taken(rate: FreeRate, account_id: int) -> int:
    """How many requests it may make now."""
    count = 0
    while count < 10_000:
        try:
            rate.take(account_id)
        except TooManyRequests:
            return count
        count += 1
    return count


def test_a_minutes_worth_may_come_at_once_and_then_comes_at_the_rate(clock: Clock) -> None:
    rate = FreeRate(60)
    assert taken(rate, 1) == 60
    assert taken(rate, 2) == 60
    for seconds, more in ((0.5, 0), (0.5, 1), (3, 3), (3600, 60)):
        clock.now_s += seconds
        assert taken(rate, 1) == more


def test_a_refusal_says_when_the_next_fits(clock: Clock) -> None:
    rate = FreeRate(6)
    assert taken(rate, 1) == 6
    with pytest.raises(TooManyRequests) as refused:
        rate.take(1)
    assert refused.value.headers == ((b"retry-after", b"10"),)
    clock.now_s += 10
    rate.take(1)


def test_accounts_that_ask_no_more_are_forgotten(clock: Clock) -> None:
    rate = FreeRate(60)
    for account_id in range(100):
        rate.take(account_id)
    clock.now_s += 61
    rate.take(7)
    assert len(rate) == 1


def test_zero_is_any_number() -> None:
    assert taken(FreeRate(0), 1) == 10_000


async def test_a_flood_of_free_requests_is_refused_and_charged_ones_and_others_are_served(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    greedy, other = await create_holder(pool, 1000), await create_holder(pool, 1000)
    async with client_of(dsn, upstream, free_per_minute=2) as client:
        for _ in range(2):
            assert (await client.get("/v1/models", headers=greedy.headers)).status_code == 200
        document = {"model": "omni-moderation-latest", "input": "x"}
        for path, body in (("/v1/models", None), ("/v1/moderations", document)):
            method = "GET" if body is None else "POST"
            refused = await client.request(method, path, json=body, headers=greedy.headers)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (429, "rate_limit_exceeded")
            assert error["type"] == "rate_limit_error"
            assert error["message"].startswith("This account may make 2 requests a minute")
            assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert len(upstream.requests) == 2
        assert (await client.ask(greedy)).status_code == 200
        assert (await client.get("/v1/models", headers=other.headers)).status_code == 200
        counted = (await client.get("/metrics")).text
    assert 'tokenbalance_requests_total{endpoint="/models",status="429"} 1.0' in counted
