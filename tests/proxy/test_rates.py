"""With a rate card: what is held, lowered and charged for requests on a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import account_of, charges_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, chunk, content
from tests.support.rate_cards import CARD, post, priced, written
from tests.support.upstream import Response, ScriptedUpstream, event_stream, json_response
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tokenbalance.database.connections import Pool
USAGE: Any = {
    "prompt_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens": 7,
    "completion_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}
CHARGE = 21
"""1 + 5 x 0.5 + 4 x 0.25 + 5 x 2 + 2 x 3 = 20.5."""
MESSAGE: Any = {"role": "assistant", "content": "one two three"}


async def test_usage_is_charged_at_the_rates_of_its_model(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": USAGE}))
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder)
    assert response.headers["x-tokenbalance-charge"] == str(CHARGE)
    assert response.headers["x-tokenbalance-balance"] == str(1000 - CHARGE)
    # 1 + 9 x 0.5 + 50 x 3, the dearest that each token may be.
    assert response.headers["x-tokenbalance-hold"] == "156"
    assert (await account_of(pool, holder)).balance == 1000 - CHARGE
    assert (await audit(pool)).violations == []


async def test_a_stream_is_charged_at_the_rates_of_its_model(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(event_stream(content("a"), chunk(choices=[], usage=USAGE), DONE))
    async with priced(dsn, upstream, card) as http:
        _ = await post(http, holder, stream=True)
    assert (await account_of(pool, holder)).balance == 1000 - CHARGE


async def test_embeddings_without_output_are_charged_for_their_input(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 100)
    upstream.script(json_response({"usage": {"prompt_tokens": 31, "total_tokens": 31}}))
    body = {"model": "text-embedding-3-small", "input": "word " * 30}
    async with priced(dsn, upstream, card) as http:
        _ = await http.post("/v1/embeddings", json=body, headers=holder.headers)
    assert (await account_of(pool, holder)).balance == 96


async def test_the_output_is_capped_to_what_the_balance_pays_for(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 30)
    usage: Any = {**USAGE, "completion_tokens": 8, "total_tokens": 17}
    usage["completion_tokens_details"] = {"reasoning_tokens": 8}
    upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": usage}))
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder)
    # 30 - 1 - 9 x 0.5 = 24.5 pay for 8 tokens of reasoning.
    assert response.headers["x-tokenbalance-output-cap"] == "8"
    assert upstream.requests[0].json()["max_tokens"] == 8
    assert (await account_of(pool, holder)).balance >= 0
    (charge,) = await charges_of(pool, holder)
    assert charge["overrun"] == 0


async def test_output_that_costs_nothing_is_not_capped(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 9)
    upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": USAGE}))
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder, model="gpt-4.1")
        assert response.status_code == 200
        assert "x-tokenbalance-output-cap" not in response.headers
        assert (await account_of(pool, holder)).balance == 0
        assert (await post(http, holder, model="gpt-4.1")).status_code == 402


async def test_audio_is_held_at_the_rate_of_audio(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 10_000)
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    text = {"type": "text", "text": "Hello there"}
    async with priced(dsn, upstream, card) as http:
        plain = await post(http, holder, messages=[{"role": "user", "content": [text]}])
        heard = await post(http, holder, messages=[{"role": "user", "content": [text, audio]}])
        spoken = await post(http, holder, modalities=["text", "audio"])
    assert plain.headers["x-tokenbalance-hold"] == "156"
    assert int(heard.headers["x-tokenbalance-hold"]) > 50 * 20 + 64 * 10
    assert spoken.headers["x-tokenbalance-hold"] == str(1 + 9 * 10 + 50 * 20)


async def test_an_answer_that_cannot_be_read_costs_at_most_its_hold(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 1000)
    headers = [("content-type", "application/json"), ("content-encoding", "unheard-of")]
    upstream.script(Response(headers=headers, body=b"\x01\x02\x03"))
    async with priced(dsn, upstream, card) as http:
        _ = await post(http, holder)
    (charge,) = await charges_of(pool, holder)
    assert charge["estimated"]
    assert (charge["input"], charge["output"], charge["total"]) == (9, 50, 59)
    # 1 + 9 x 0.5 + 50 x 2, rounded up; 156 were held.
    assert charge["amount"] == -106
    assert charge["overrun"] == 0
    assert (await audit(pool)).violations == []


async def test_a_model_without_a_rate_is_not_found_and_nothing_is_held(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, card: Path
) -> None:
    holder = await create_holder(pool, 10**6)
    async with priced(dsn, upstream, card) as http:
        response = await post(http, holder, model="gpt-6")
        free = {"model": "gpt-6", "input": "Hello"}
        counted = await http.post("/v1/responses/input_tokens", json=free, headers=holder.headers)
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "gpt-6" in error["message"]
    assert "no rate is set for it" in error["message"]
    assert await hold_states(pool, holder) == []
    assert counted.status_code == 200
    assert [request.target for request in upstream.requests] == [b"/v1/responses/input_tokens"]


# Service tiers.

OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", CHAT),
    ("responses", {"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 50}),
    ("completions", {"model": "gpt-4o-mini", "prompt": "Hello", "max_tokens": 50}),
    ("embeddings", {"model": "text-embedding-3-small", "input": "Hello"}),
]


@pytest.mark.parametrize(("path", "body"), OPERATIONS, ids=[path for path, _ in OPERATIONS])
async def test_a_tier_that_the_card_cannot_price_is_refused(
    pool: Pool,
    dsn: str,
    upstream: ScriptedUpstream,
    card: Path,
    path: str,
    body: dict[str, Any],
) -> None:
    holder = await create_holder(pool, 1000)
    async with priced(dsn, upstream, card) as http:
        for tier, status, code in (
            ("priority", 403, "service_tier_not_allowed"),
            ("ultrafast", 403, "service_tier_not_allowed"),
            ("", 403, "service_tier_not_allowed"),
            ("Default", 403, "service_tier_not_allowed"),
            (1, 400, "invalid_type"),
            (["flex"], 400, "invalid_type"),
        ):
            asked = {**body, "service_tier": tier}
            response = await http.post(f"/v1/{path}", json=asked, headers=holder.headers)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (status, code), tier
            assert error["param"] == "service_tier"
            assert "service_tier" in error["message"]
            assert response.headers["x-should-retry"] == "false"
        assert upstream.requests == []
        assert await hold_states(pool, holder) == []
        for tier in ("auto", "default", "standard", "flex", None):
            asked = {**body, "service_tier": tier}
            response = await http.post(f"/v1/{path}", json=asked, headers=holder.headers)
            assert response.status_code == 200, tier
            assert upstream.requests[-1].json()["service_tier"] == tier


async def test_without_a_card_every_tier_costs_its_tokens(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    for tier in ("priority", "ultrafast", 1, None):
        response = await post(http, holder, service_tier=tier)
        # The upstream refuses what is no text, and nobody else.
        assert response.status_code == (400 if tier == 1 else 200)
        assert upstream.requests[-1].json()["service_tier"] == tier


async def test_a_charge_is_right_by_its_own_rates_after_the_card_was_changed(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, 1000)
    charges: list[int] = []
    for rate in ("0.5", "0.25"):
        card = written(tmp_path, CARD.replace("input = 0.5", f"input = {rate}"))
        upstream.script(json_response({"choices": [{"message": MESSAGE}], "usage": USAGE}))
        async with priced(dsn, upstream, card) as http:
            response = await post(http, holder)
            charges.append(int(response.headers["x-tokenbalance-charge"]))
            listed = (await http.get("/api/requests", headers=holder.headers)).json()["data"]
    assert charges == [CHARGE, CHARGE - 1]
    assert [row["rates"]["input"] for row in listed] == ["0.25", "0.5"]
    assert [row["charge"] for row in listed] == charges[::-1]
    assert (await audit(pool)).violations == []
