"""What is refused is refused in OpenAI's shape, names its field, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import orjson
import pytest

from tests.support.books import Holder, create_holder, hold_states
from tests.support.chat import CHAT, MESSAGES
from tests.support.product import serving

if TYPE_CHECKING:
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1_000_000)


def check(response: httpx2.Response, status: int, code: str, param: str | None = None) -> None:
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert param is None or param in error["message"]
    # The same request would be refused again.
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers


async def invalidate(pool: Pool, how: str) -> None:
    statements = {
        "revoked": "UPDATE api_keys SET revoked_at = now()",
        "expired": "UPDATE api_keys SET expires_at = now() - interval '1 second'",
        "disabled": "UPDATE users SET is_active = false",
    }
    await pool.execute(statements[how])


@pytest.mark.parametrize("how", ["revoked", "expired", "disabled"])
async def test_a_key_that_is_no_longer_valid_is_refused_at_once(
    pool: Pool, http: httpx2.AsyncClient, holder: Holder, how: str
) -> None:
    assert (await http.get("/v1/models", headers=holder.headers)).status_code == 200
    await invalidate(pool, how)
    check(await http.get("/v1/models", headers=holder.headers), 401, "invalid_api_key")


async def test_a_key_that_expires_later_is_valid(
    pool: Pool, http: httpx2.AsyncClient, holder: Holder
) -> None:
    await pool.execute("UPDATE api_keys SET expires_at = now() + interval '1 hour'")
    assert (await http.get("/v1/models", headers=holder.headers)).status_code == 200


@pytest.mark.product_deadlines
async def test_a_database_that_goes_while_a_key_is_looked_up_is_a_503_and_nothing_is_dispatched(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    other = await create_holder(pool)
    assert (await http.get("/v1/models", headers=other.headers)).status_code == 200
    async with pool.acquire() as session, session.transaction():
        await session.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        asking = [
            asyncio.create_task(
                http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
            )
            for _ in range(3)
        ]
        ended = 0
        async with asyncio.timeout(10):
            # Those who come while a look-up is under way share the next one.
            while not all(task.done() for task in asking):
                ended += await session.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                await asyncio.sleep(0.005)
    assert ended >= 1
    for response in [task.result() for task in asking]:
        assert (response.status_code, response.json()["error"]["code"]) == (
            503,
            "service_unavailable",
        )
        assert response.headers["retry-after"] == "1"
        assert "x-should-retry" not in response.headers
    assert [request.method for request in upstream.requests] == ["GET"]
    assert await hold_states(pool, holder) == []
    again = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert again.status_code == 200


@pytest.mark.parametrize("value", ["", "Bearer", "Basic abc", "Bearer nope", "nope", "Bearer ü"])
async def test_a_header_that_is_no_key_is_refused(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, value: str
) -> None:
    headers = [(b"authorization", value.encode())]
    response = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    check(response, 401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert upstream.requests == []


async def test_the_original_projects_scheme_is_accepted(
    http: httpx2.AsyncClient, holder: Holder
) -> None:
    headers = {"authorization": f"Token {holder.secret}"}
    assert (await http.get("/v1/models", headers=headers)).status_code == 200


async def test_the_last_use_of_a_key_is_recorded(
    pool: Pool, http: httpx2.AsyncClient, holder: Holder
) -> None:
    await http.get("/v1/models", headers=holder.headers)
    # Nobody waits for that, and so the answer may come first.
    async with asyncio.timeout(10):
        while not await pool.fetchval("SELECT last_used_at IS NOT NULL FROM api_keys"):
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("GET", "/v1/", 404, "unknown_url"),
        ("POST", "/v1/models", 404, "unknown_url"),
        ("DELETE", "/v1/models/gpt-4o", 403, "endpoint_not_allowed"),
        ("POST", "/v1/chat/completions/", 404, "unknown_url"),
        ("POST", "/v1//chat/completions", 404, "unknown_url"),
        ("POST", "//v1/chat/completions", 404, "unknown_url"),
        ("POST", "/v1/chat%2Fcompletions", 404, "unknown_url"),
        ("POST", "/V1/chat/completions", 404, "unknown_url"),
        ("GET", "/v1/models/..%2Ffiles", 404, "unknown_url"),
        ("GET", "/v1/organization/admin_api_keys", 403, "endpoint_not_allowed"),
        ("GET", "/v1/responses/resp_123", 404, "not_found"),
        ("GET", "/v1/responses/compact", 404, "not_found"),
        ("GET", "/v1/responses/resp_123?beta=true", 404, "not_found"),
        ("GET", "/v1/chat/completions/chatcmpl-1/messages", 404, "not_found"),
        ("POST", "/v1/fine_tuning/jobs", 403, "endpoint_not_allowed"),
        ("GET", "/nothing", 404, "unknown_url"),
    ],
)
async def test_what_is_not_served_is_refused_by_rule(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    method: str,
    path: str,
    status: int,
    code: str,
) -> None:
    request = http.build_request(method, "http://x/", headers=holder.headers)
    request.url = http.base_url.copy_with(raw_path=path.encode())
    check(await http.send(request), status, code)
    assert upstream.requests == []


async def test_two_keys_are_none(http: httpx2.AsyncClient, holder: Holder) -> None:
    twice = [("authorization", f"Bearer {holder.secret}")] * 2
    response = await http.get("/v1/models", headers=twice)
    check(response, 401, "invalid_api_key")
    assert "More than one" in response.json()["error"]["message"]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_original_projects_paths_are_the_same_thing(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream, slash: str
) -> None:
    response = await http.post(
        f"/api/openai/chat/completions{slash}", json=CHAT, headers=holder.headers
    )
    assert response.status_code == 200
    assert upstream.requests[0].target == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'{"model":"a","model":"b","messages":[]}', "invalid_json", None),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "invalid_json", "a"),
        ({"messages": MESSAGES}, "missing_required_parameter", "model"),
        ({"model": "gpt-4o"}, "missing_required_parameter", "messages"),
        ({"model": 1, "messages": MESSAGES}, "invalid_type", "model"),
        ({"model": "gpt-4o", "messages": []}, "empty_array", "messages"),
        ({**CHAT, "max_tokens": "9"}, "invalid_type", "max_tokens"),
        ({**CHAT, "max_tokens": 0}, "integer_below_min_value", "max_tokens"),
        ({**CHAT, "max_tokens": 2**40}, "integer_above_max_value", "max_tokens"),
        ({**CHAT, "n": True}, "invalid_type", "n"),
        ({**CHAT, "stream": "yes"}, "invalid_type", "stream"),
    ],
)
async def test_a_body_that_cannot_be_priced_is_a_400_that_names_the_field(
    pool: Pool,
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    body: Any,
    code: str,
    param: str | None,
) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {**holder.headers, "content-type": "application/json"}
    response = await http.post("/v1/chat/completions", content=raw, headers=headers)
    check(response, 400, code, param)
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", {"id": "pmpt_1"}),
        ("background", True),
        ("tools", [{"type": "mcp", "tunnel_id": "tunnel_1"}]),
    ],
)
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
async def test_what_nobody_can_own_here_is_refused(
    http: httpx2.AsyncClient,
    holder: Holder,
    upstream: ScriptedUpstream,
    path: str,
    field: str,
    value: object,
) -> None:
    body = {"model": "gpt-4o", "input": "Hi", field: value}
    response = await http.post(path, json=body, headers=holder.headers)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "unsupported_parameter"
    assert error["param"].startswith(field)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "unsupported_media_type"),
        ({"content-encoding": "compress"}, 415, "unsupported_media_type"),
        ({"content-type": "application/json; charset=UTF-8"}, 200, None),
    ],
)
async def test_a_body_must_be_json(
    http: httpx2.AsyncClient, holder: Holder, headers: dict[str, str], status: int, code: str | None
) -> None:
    response = await http.post(
        "/v1/chat/completions",
        content=orjson.dumps(CHAT),
        headers={**holder.headers, "content-type": "application/json", **headers},
    )
    assert response.status_code == status
    if code:
        assert response.json()["error"]["code"] == code


async def test_an_unknown_model_name_that_cannot_exist_is_a_404(
    http: httpx2.AsyncClient, holder: Holder, upstream: ScriptedUpstream
) -> None:
    response = await http.post(
        "/v1/chat/completions", json={**CHAT, "model": "GPT-4O"}, headers=holder.headers
    )
    check(response, 404, "model_not_found", "model")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("of_the_server", "of_the_key", "status"),
    [(402, None, 402), (429, None, 429), (402, 429, 429), (429, 402, 402)],
)
async def test_a_key_chooses_how_a_balance_is_told_that_does_not_cover_a_request(
    dsn: str,
    pool: Pool,
    upstream: ScriptedUpstream,
    of_the_server: int,
    of_the_key: int | None,
    status: int,
) -> None:
    holder = await create_holder(pool, 5)
    await pool.execute("UPDATE api_keys SET insufficient_status = $1", of_the_key)
    async with (
        serving(dsn, upstream.base_url, insufficient_status=of_the_server) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        response = await client.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    check(response, status, "insufficient_quota")
    assert upstream.requests == []


@pytest.mark.parametrize("status", [402, 429])
async def test_the_sdk_asks_only_once_whichever_status_says_that_the_balance_is_too_low(
    pool: Pool, http: httpx2.AsyncClient, status: int
) -> None:
    holder = await create_holder(pool, 5)
    await pool.execute("UPDATE api_keys SET insufficient_status = $1", status)
    async with openai.AsyncOpenAI(
        api_key=holder.secret, base_url=http.base_url.join("/v1"), http_client=http
    ) as sdk:
        with pytest.raises(openai.APIStatusError) as refused:
            await sdk.chat.completions.create(**CHAT)
    assert refused.value.status_code == status
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"
