"""Requests of keys that may be used only from somewhere, for something, or with something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.support.limited_keys import create_limited, limit
from tests.support.responses import json_response

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions

AMPLE = 10_000_000
CHATS = "/v1/chat/completions"
RESPONSES = "/v1/responses"
RESPONSE: dict[str, Any] = {"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 50}
SEARCH = {"tools": [{"type": "web_search_preview"}]}
IMAGE = {"tools": [{"type": "image_generation", "model": "gpt-image-1"}]}
GRADER: dict[str, Any] = {
    "grader": {
        "type": "score_model",
        "name": "g",
        "model": "gpt-4o-mini",
        "input": [{"role": "user", "content": "Rate it."}],
    },
    "model_sample": "x",
}
GRADES = "/v1/fine_tuning/alpha/graders/run"

REFUSED: list[Any] = [
    ({"addresses": ["10.0.0.0/8"]}, CHATS, CHAT, "ip_not_allowed", None),
    ({"endpoints": ["responses"]}, CHATS, CHAT, "endpoint_not_allowed", None),
    ({"endpoints": []}, RESPONSES, RESPONSE, "endpoint_not_allowed", None),
    ({"models": ["o3*"]}, CHATS, CHAT, "model_not_allowed", "model"),
    ({"models": ["!gpt-4o-mini"]}, RESPONSES, RESPONSE, "model_not_allowed", "model"),
    ({"models": ["!gpt-4o-mini"]}, GRADES, GRADER, "model_not_allowed", "model"),
    (
        {"models": ["gpt-4o*"]},
        RESPONSES,
        {**RESPONSE, **IMAGE},
        "model_not_allowed",
        "tools[0].model",
    ),
    (
        {"service_tiers": ["default"]},
        CHATS,
        {**CHAT, "service_tier": "priority"},
        "service_tier_not_allowed",
        "service_tier",
    ),
    ({"service_tiers": ["flex"]}, CHATS, CHAT, "service_tier_not_allowed", "service_tier"),
    ({"tools": []}, RESPONSES, {**RESPONSE, **SEARCH}, "tool_not_allowed", "tools[0]"),
    ({"tools": ["mcp"]}, RESPONSES, {**RESPONSE, **SEARCH}, "tool_not_allowed", "tools[0]"),
]
ALLOWED: list[Any] = [
    ({"addresses": ["127.0.0.0/8"]}, CHATS, CHAT),
    ({"endpoints": ["chat", "models"]}, CHATS, CHAT),
    ({"models": ["gpt-4o*"]}, CHATS, CHAT),
    ({"models": ["!o3*"]}, RESPONSES, RESPONSE),
    ({"models": ["gpt-*"]}, RESPONSES, {**RESPONSE, **IMAGE}),
    ({"service_tiers": ["default"]}, CHATS, CHAT),
    ({"service_tiers": ["auto", "flex"]}, CHATS, {**CHAT, "service_tier": "flex"}),
    ({"service_tiers": ["flex"]}, "/v1/embeddings", {"model": "gpt-4o-mini", "input": "x"}),
    ({"tools": ["web_search"]}, RESPONSES, {**RESPONSE, **SEARCH}),
    (
        {"tools": []},
        RESPONSES,
        {**RESPONSE, "tools": [{"type": "function", "name": "f", "parameters": {}}]},
    ),
]


async def ask(
    http: httpx2.AsyncClient, holder: Holder, path: str, body: dict[str, Any]
) -> httpx2.Response:
    return await http.post(path, json=body, headers=holder.headers)


def code_of(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]


@pytest.mark.parametrize("of_account", [False, True])
@pytest.mark.parametrize(("rules", "path", "body", "code", "param"), REFUSED)
async def test_what_a_rule_forbids_is_refused_and_not_sent(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    rules: dict[str, Any],
    path: str,
    body: dict[str, Any],
    code: str,
    param: str | None,
    *,
    of_account: bool,
) -> None:
    holder = (
        await create_limited(pool, sessions, account=rules)
        if of_account
        else await create_limited(pool, sessions, rules)
    )
    response = await ask(http, holder, path, body)
    assert (response.status_code, code_of(response)) == (403, code), response.text
    assert response.json()["error"]["param"] == param
    subject = "account" if of_account else "key"
    assert response.headers["x-tokenbalance-limit"] == f"{subject}.{next(iter(rules))}"
    assert response.headers["x-should-retry"] == "false"
    assert f"this {subject}" in response.json()["error"]["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(("rules", "path", "body"), ALLOWED)
async def test_what_a_rule_allows_is_sent(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    rules: dict[str, Any],
    path: str,
    body: dict[str, Any],
) -> None:
    holder = await create_limited(pool, sessions, rules)
    response = await ask(http, holder, path, body)
    assert response.status_code == 200, response.text
    assert "x-tokenbalance-limit" not in response.headers
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ({}, {"addresses": ["10.0.0.0/8"]}, "ip_not_allowed"),
        ({}, {"endpoints": ["images"]}, "endpoint_not_allowed"),
        ({"models": ["gpt-*"]}, {"models": ["o3"]}, "model_not_allowed"),
        ({"models": ["gpt-*"]}, {}, None),
        ({"models": ["o3"]}, {"models": ["gpt-*"]}, None),
        ({"endpoints": ["images"]}, {"endpoints": ["chat"]}, None),
        ({"addresses": ["10.0.0.0/8"]}, {}, None),
    ],
)
async def test_a_changed_rule_counts_with_the_next_request(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    before: dict[str, Any],
    after: dict[str, Any],
    code: str | None,
) -> None:
    holder = await create_limited(pool, sessions, before, balance=AMPLE)
    for _ in range(2):
        _ = await ask(http, holder, CHATS, CHAT)
    await limit(sessions, holder, after)
    response = await ask(http, holder, CHATS, CHAT)
    assert response.status_code == (200 if code is None else 403)
    assert code is None or code_of(response) == code


async def test_an_address_comes_before_whatever_else_is_wrong(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    rules = {"addresses": ["10.0.0.0/8"]}
    holder = await create_limited(pool, sessions, rules, balance=0)
    for path, body in ((CHATS, CHAT), ("/v1/nothing", {}), (CHATS, {"messages": 1})):
        assert code_of(await ask(http, holder, path, body)) == "ip_not_allowed"


async def test_a_trusted_proxy_names_the_address(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"addresses": ["192.0.2.0/24"]})
    for hops, status in (
        ("192.0.2.9", 200),
        ("192.0.2.9, 10.0.0.1", 403),
        ("10.0.0.1, ::ffff:192.0.2.9", 200),
    ):
        headers = {**holder.headers, "x-forwarded-for": hops}
        assert (await http.post(CHATS, json=CHAT, headers=headers)).status_code == status, hops


async def test_what_costs_nothing_is_bound_by_rules_too(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    for rules, path, code in (
        ({"addresses": ["10.0.0.0/8"]}, "/v1/models", "ip_not_allowed"),
        ({"endpoints": ["chat"]}, "/v1/models", "endpoint_not_allowed"),
        ({"endpoints": ["chat"]}, "/v1/files", "endpoint_not_allowed"),
    ):
        holder = await create_limited(pool, sessions, rules)
        response = await http.get(path, headers=holder.headers)
        assert (response.status_code, code_of(response)) == (403, code)
    holder = await create_limited(pool, sessions, {"models": ["gpt-*"]})
    body = {"model": "omni-moderation-latest", "input": "x"}
    assert code_of(await ask(http, holder, "/v1/moderations", body)) == "model_not_allowed"
    assert upstream.requests == []


async def test_models_that_a_key_may_not_use_do_not_exist_for_it(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_limited(
        pool, sessions, {"models": ["!gpt-4o-mini", "gpt-*"]}, account={"models": ["!gpt-5"]}
    )
    other = await create_limited(pool, sessions)
    names = ["gpt-4o", "gpt-4o-mini", "gpt-5", "o3"]
    listed: dict[str, Any] = {
        "object": "list",
        "data": [{"id": name, "object": "model"} for name in names],
    }
    upstream.always(json_response(listed))

    async def seen(who: Holder) -> list[str]:
        response = await http.get("/v1/models", headers=who.headers)
        return [row["id"] for row in response.json()["data"]]

    assert await seen(holder) == ["gpt-4o"]
    assert await seen(other) == names
    for name in ("gpt-4o-mini", "gpt-5", "o3"):
        response = await http.get(f"/v1/models/{name}", headers=holder.headers)
        assert (response.status_code, code_of(response)) == (404, "model_not_found")
    assert (await http.get("/v1/models/gpt-4o", headers=holder.headers)).status_code == 200
