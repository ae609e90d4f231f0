"""What crosses the proxy in either direction, and what never does."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder, hold_states
from tests.support.chat import CHAT
from tests.support.product import UPSTREAM_KEY, serving
from tests.support.upstream import Response, ScriptedUpstream

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool

RESPONSE = {"model": "gpt-4o-mini", "input": "Hi", "max_output_tokens": 100}


async def test_the_upstream_sees_the_operators_key_and_not_the_clients_secrets(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    headers = {
        **holder.headers,
        "Cookie": "session=secret",
        "OpenAI-Organization": "org-mine",
        "OpenAI-Project": "proj-mine",
        "Api-Key": holder.secret,
        "X-Api-Key": holder.secret,
        "Idempotency-Key": "shared-by-accident",
        "X-Forwarded-For": "10.0.0.1",
        "X-Portkey-Config": "{}",
        "X-Api-Base": "http://evil.example",
        "Helicone-Auth": "1",
        "Cf-Aig-Authorization": "1",
        "X-Stainless-Odd_Name": "1",
        "Accept-Language": "de",
        "Content-Language": "de",
        "Proxy-Authorization": "Basic Zm9vOmJhcg==",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "TE": "trailers",
        "Upgrade": "h2c",
    }
    await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    (request,) = upstream.requests
    assert request.header("authorization") == f"Bearer {UPSTREAM_KEY}"
    seen = {name.lower() for name, _ in request.headers}
    refused = {name.lower().encode() for name in headers} - {b"authorization", b"connection"}
    assert not seen & refused
    assert all(holder.secret.encode() not in value for _, value in request.headers)
    assert len(request.headers) == len(seen)


async def test_end_to_end_headers_reach_the_upstream_once(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    headers = {
        **holder.headers,
        "OpenAI-Beta": "assistants=v2",
        "X-Stainless-Lang": "python",
        "X-Client-Request-Id": "mine",
        "User-Agent": "tests/1.0",
        "Accept": "application/json",
        "Traceparent": "00-1-1-01",
        "Session-Id": "1",
        "Originator": "codex_exec",
        "X-Codex-Turn-Metadata": "{}",
    }
    await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    (request,) = upstream.requests
    for name in set(headers) - {"Authorization"}:
        values = [v for k, v in request.headers if k.lower() == name.lower().encode()]
        assert values == [headers[name].encode()]
    assert request.header("content-type") == "application/json"
    assert request.header("host") == upstream.base_url.split("/")[2]


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        ("/v1/chat/completions?api-version=2&x=%20y", b"/v1/chat/completions"),
        ("/v1/chat/completions?beta=true", b"/v1/chat/completions"),
        ("/api/openai/responses/?a=1", b"/v1/responses"),
        ("/v1/responses?a=1&beta=true&b=2", b"/v1/responses?beta=true"),
    ],
)
async def test_only_the_query_of_the_table_goes_upstream(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, sent: str, target: bytes
) -> None:
    holder = await create_holder(pool, 1000)
    body = RESPONSE if "responses" in sent else CHAT
    response = await http.post(sent, json=body, headers=holder.headers)
    assert response.status_code == 200
    assert [request.target for request in upstream.requests] == [target]


async def test_a_query_of_a_path_with_an_id_stays_here(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    _ = await http.get("/v1/models/gpt-4o-mini?x=1", headers=holder.headers)
    assert [request.target for request in upstream.requests] == [b"/v1/models/gpt-4o-mini"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "Application/JSON",
        'application/json; charset="UTF-8"',
        "application/json; boundary=x; version=2",
    ],
)
async def test_the_upstream_gets_the_media_type_that_was_checked(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, content_type: str | None
) -> None:
    holder = await create_holder(pool, 1000)
    headers = {} if content_type is None else {"content-type": content_type}
    response = await http.post(
        "/v1/chat/completions", content=json.dumps(CHAT), headers={**holder.headers, **headers}
    )
    assert response.status_code == 200
    (request,) = upstream.requests
    types = [value for name, value in request.headers if name.lower() == b"content-type"]
    assert types == [b"application/json"]


async def test_a_request_without_a_body_has_no_media_type_upstream(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    headers = {**holder.headers, "content-type": "text/odd"}
    _ = await http.get("/v1/models", headers=headers)
    (request,) = upstream.requests
    assert request.header("content-type") is None


async def test_the_operators_organization_and_project_are_sent_upstream(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    async with (
        serving(
            dsn, upstream.base_url, openai_organization="org-o", openai_project="proj-p"
        ) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    (request,) = upstream.requests
    assert request.header("openai-organization") == "org-o"
    assert request.header("openai-project") == "proj-p"


async def test_the_client_sees_the_answers_headers_and_nothing_of_the_operator(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    passed = {
        "x-request-id": "req_1",
        "openai-processing-ms": "12",
        "openai-version": "2020-10-01",
        "openai-model": "gpt-4o-mini-2024-07-18",
        "x-oai-request-id": "req_2",
        "x-should-retry": "false",
        "retry-after-ms": "20",
        "cache-control": "no-cache",
        "x-codex-turn-state": "opaque",
    }
    kept_back = {
        "set-cookie": "cf=1",
        "openai-organization": "org-secret",
        "openai-project": "proj-secret",
        "x-ratelimit-remaining-tokens": "7",
        "x-ratelimit-limit-requests": "9",
        "x-codex-primary-used-percent": "42",
        "x-litellm-response-cost": "0.01",
        "x-served-by": "10.0.0.7",
        "location": "http://10.0.0.7/",
        "via": "1.1 gateway.internal",
        "cf-ray": "1",
        "x-custom": "1",
        "alt-svc": "h3",
        "strict-transport-security": "max-age=1",
        "server": "cloudflare",
        "x-tokenbalance-charge": "-999",
        "keep-alive": "timeout=5",
    }
    upstream.script(
        Response(
            headers=[("content-type", "application/json"), *passed.items(), *kept_back.items()],
            body=b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}',
        )
    )
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert {name: response.headers[name] for name in passed} == passed
    assert response.headers["x-tokenbalance-charge"] == "2"
    for name in set(kept_back) - {"x-tokenbalance-charge"}:
        assert name not in response.headers
    assert response.headers.get_list("content-length") == [str(len(response.content))]


async def test_the_operator_may_let_more_headers_pass(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    upstream.script(Response(headers=[("x-acme-trace", "2"), ("x-served-by", "here")]))
    settings = {"request_headers": "X-Acme-*, x-title", "response_headers": "x-acme-trace"}
    async with (
        serving(dsn, upstream.base_url, **settings) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        response = await http.post(
            "/v1/chat/completions",
            json=CHAT,
            headers={**holder.headers, "x-acme-team": "a", "x-title": "b", "x-acme_team": "c"},
        )
    (request,) = upstream.requests
    assert (request.header("x-acme-team"), request.header("x-title")) == ("a", "b")
    assert request.header("x-acme_team") is None
    assert response.headers["x-acme-trace"] == "2"
    assert "x-served-by" not in response.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nobody_anywhere_and_is_the_operators_to_hear_of(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    holder = await create_holder(pool, 1000)
    headers = [("location", "http://10.0.0.7/v1"), ("refresh", "0; url=http://10.0.0.7/v1")]
    upstream.script(Response(status=status, headers=headers, body=b"moved"))
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert (response.status_code, response.content) == (status, b"moved")
    assert not any("10.0.0.7" in value for value in response.headers.values())
    assert len(upstream.requests) == 1
    assert await hold_states(pool, holder) == ["voided"]
    assert "OPENAI_BASE_URL" in caplog.text


async def test_no_secret_reaches_the_logs(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder = await create_holder(pool, 1000)
    caplog.set_level(logging.DEBUG)
    await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    upstream.script(Response(raw=b"not http at all"))
    await http.post("/v1/chat/completions?secret-query=1", json=CHAT, headers=holder.headers)
    lines = "\n".join(
        str(vars(record)) for record in caplog.records if record.name.startswith("tokenbalance")
    )
    assert "POST /v1/chat/completions 200" in lines
    for secret in (holder.secret, UPSTREAM_KEY, "Hello there", "secret-query"):
        assert secret not in lines


async def test_the_sandbox_says_so_in_every_answer(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1000)
    async with (
        serving(dsn, upstream.base_url, sandbox=True) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        good = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
        bad = await http.post("/v1/chat/completions", json=CHAT)
    assert good.headers["x-tokenbalance-upstream"] == "sandbox"
    assert bad.headers["x-tokenbalance-upstream"] == "sandbox"
