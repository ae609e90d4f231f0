"""What a caller is told of the upstream's errors: whose fault it is, once, and free of charge."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import openai
import orjson
import pytest

from tests.support.books import account_of, create_holder, hold_states
from tests.support.chat import CHAT, DONE, STREAM, content
from tests.support.upstream import Framing, Gate, Response, ScriptedUpstream, event_stream
from tokenbalance.openai.failure import ERROR_BYTES_MAX

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

QUOTA = "You exceeded your current quota, please check your plan and billing details."
NO_ACCESS = "Project `proj_EXAMPLE` does not have access to model `gpt-4o-mini`"
MONEY = {
    "message": QUOTA,
    "type": "insufficient_quota",
    "param": None,
    "code": "insufficient_quota",
}
RESPONSE: dict[str, Any] = {"model": "gpt-4o-mini", "input": "Hello", "max_output_tokens": 50}


def refusal(status: int, message: str, code: str | None = None, **members: Any) -> Response:
    """An error in OpenAI's envelope."""
    kind = "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code, **members}
    body = orjson.dumps({"error": error})
    headers = [("content-type", "application/json"), ("retry-after", "7")]
    return Response(status=status, headers=headers, body=body)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def post(
    http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any], path: str = "chat/completions"
) -> httpx2.Response:
    return await http.post(f"/v1/{path}", json=body, headers=holder.headers)


async def check_free(pool: Pool, holder: Holder) -> None:
    async with asyncio.timeout(10):
        while "open" in (states := await hold_states(pool, holder)):
            await asyncio.sleep(0.005)
    assert set(states) == {"voided"}
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (1000, 0)


FOR_THE_OPERATOR = [
    pytest.param(refusal(403, NO_ACCESS, "model_not_found"), 404, "model_not_found", id="model"),
    pytest.param(refusal(404, NO_ACCESS), 404, "model_not_found", id="model by its words"),
    pytest.param(refusal(429, QUOTA, "insufficient_quota"), 503, "upstream_quota", id="quota"),
    pytest.param(refusal(400, "x", "billing_hard_limit_reached"), 503, "upstream_quota", id="400"),
    pytest.param(Response(status=402, body=b"pay"), 503, "upstream_quota", id="402"),
    pytest.param(refusal(401, "key sk-123456"), 502, "upstream_auth", id="401"),
    pytest.param(refusal(403, "key sk-123456"), 502, "upstream_auth", id="403"),
    pytest.param(Response(status=403, body=b"<html>1.2.3.4"), 502, "upstream_auth", id="html"),
    pytest.param(
        refusal(403, "proj_EXAMPLE is archived"), 403, "permission_denied", id="named project"
    ),
]


@pytest.mark.parametrize(("response", "status", "code"), FOR_THE_OPERATOR)
async def test_what_is_not_the_callers_fault_is_told_in_our_words_asked_once_and_free(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    response: Response,
    status: int,
    code: str,
) -> None:
    upstream.always(response)
    async with openai.AsyncOpenAI(
        api_key=holder.secret, base_url=http.base_url.join("/v1"), http_client=http
    ) as sdk:
        with pytest.raises(openai.APIStatusError) as refused:
            await sdk.chat.completions.create(**CHAT)
    assert (refused.value.status_code, refused.value.code) == (status, code)
    assert len(upstream.requests) == 1
    told = refused.value.response
    assert told.headers["x-should-retry"] == "false"
    assert "retry-after" not in told.headers
    for named in ("proj_", "sk-", "quota,", "1.2.3.4"):
        assert named not in told.text
    if code == "model_not_found":
        assert refused.value.param == "model"
        assert "`gpt-4o-mini`" in refused.value.message
    await check_free(pool, holder)


@pytest.mark.parametrize(
    "response",
    [
        refusal(403, "Country not supported", "unsupported_country_region_territory"),
        refusal(403, "Against the policy.", "cyber_policy"),
        refusal(404, "This is not a chat model. Did you mean v1/completions?", param="model"),
        refusal(429, "Rate limit reached", "rate_limit_exceeded", type="tokens"),
        refusal(400, "Too long", "context_length_exceeded"),
        Response(status=500, body=b"oops"),
    ],
    ids=lambda response: str(response.status),
)
async def test_what_is_about_the_request_arrives_as_it_came(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    response: Response,
) -> None:
    upstream.script(response)
    told = await post(http, holder, CHAT)
    assert (told.status_code, told.content) == (response.status, response.body)
    assert told.headers.get("retry-after") == dict(response.headers).get("retry-after")
    assert "x-should-retry" not in told.headers
    await check_free(pool, holder)


async def test_an_error_that_is_passed_on_names_nothing_of_the_operator(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    said = "Rate limit reached for gpt-4o in organization org-AbCdEf123456 on tokens per min"
    upstream.script(refusal(429, said, "rate_limit_exceeded", type="tokens"))
    told = await post(http, holder, CHAT)
    assert told.status_code == 429
    assert told.json()["error"]["message"] == said.replace("org-AbCdEf123456", "***")


async def test_a_free_endpoint_is_judged_alike(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(refusal(404, "The model 'x' does not exist", "model_not_found", param="model"))
    response = await http.get("/v1/models/x", headers=holder.headers)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        404,
        "model_not_found",
        "model",
    )


async def test_an_error_longer_than_any_reason_is_passed_on_whole(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    body = b'{"error":{"code":"' + b"x" * (5 * ERROR_BYTES_MAX) + b'"}}'
    upstream.script(Response(status=400, body=body))
    response = await post(http, holder, CHAT)
    assert (response.status_code, response.content) == (400, body)
    await check_free(pool, holder)


async def test_a_reason_is_not_waited_for_beyond_what_is_read_of_it(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    gate = Gate()
    upstream.script(Response(status=400, body=[b" " * (ERROR_BYTES_MAX + 1), gate, b"end"]))
    headers = holder.headers
    async with (
        asyncio.timeout(10),
        http.stream("POST", "/v1/chat/completions", json=CHAT, headers=headers) as response,
    ):
        assert response.status_code == 400
        gate.open()
        assert (await response.aread()).endswith(b" end")
    await check_free(pool, holder)


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [(401, 502, "upstream_auth"), (402, 503, "upstream_quota"), (400, 502, "upstream_unavailable")],
)
@pytest.mark.parametrize("cut_after", [0, 10])
async def test_an_error_that_breaks_off_is_judged_by_what_is_there(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    status: int,
    told: int,
    code: str,
    cut_after: int,
) -> None:
    upstream.script(
        Response(
            status=status,
            body=b'{"error":{"message":"x"}}',
            framing=Framing.LENGTH,
            cut_after=cut_after,
        )
    )
    response = await post(http, holder, CHAT)
    assert (response.status_code, response.json()["error"]["code"]) == (told, code)
    await check_free(pool, holder)


async def test_the_operator_is_told_once_a_minute_and_without_a_secret(
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "tokenbalance"):
        for _ in range(3):
            upstream.script(refusal(429, f"{QUOTA} sk-123456", "billing_not_active"))
            await post(http, holder, CHAT)
            upstream.script(refusal(401, "key sk-123456"))
            await post(http, holder, CHAT)
            upstream.script(refusal(429, "Rate limit reached", "rate_limit_exceeded"))
            await post(http, holder, CHAT)
            upstream.script(refusal(403, NO_ACCESS, "model_not_found"))
            await post(http, holder, CHAT)
    assert caplog.messages == [
        "upstream_quota: the upstream responded 429 billing_not_active",
        "upstream_auth: the upstream responded 401 invalid_request_error",
    ]


# --- errors inside a 2xx, whose status is gone


def failed(**error: str) -> bytes:
    document = {
        "type": "response.failed",
        "response": {"id": "r", "status": "failed", "error": error},
    }
    return b"event: response.failed\ndata: " + orjson.dumps(document) + b"\n\n"


@pytest.mark.parametrize(
    ("path", "body", "event"),
    [
        ("chat/completions", STREAM, b"data: " + orjson.dumps({"error": MONEY}) + b"\n\n"),
        (
            "responses",
            {**RESPONSE, "stream": True},
            failed(code=MONEY["code"] or "", message=QUOTA),
        ),
    ],
    ids=["chat", "responses"],
)
async def test_a_stream_that_fails_for_the_operators_money_does_not_speak_of_the_callers(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    holder: Holder,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: dict[str, Any],
    event: bytes,
) -> None:
    upstream.script(event_stream(b": alive\n\n", event, DONE))
    with caplog.at_level(logging.ERROR, "tokenbalance"):
        response = await post(http, holder, body, path)
    assert response.status_code == 200
    assert b"upstream_quota" in response.content
    assert b"insufficient_quota" not in response.content
    assert QUOTA not in response.text
    assert response.content.startswith(b": alive\n\n" + event.partition(b"{")[0])
    assert response.content.endswith(b"\n\n" + DONE)
    assert caplog.messages == ["upstream_quota: the upstream responded 200 insufficient_quota"]
    await check_free(pool, holder)


async def test_a_stream_that_fails_after_output_says_so_too_and_keeps_its_output(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    output = content("one two")
    upstream.script(event_stream(output, b"data: " + orjson.dumps({"error": MONEY}) + b"\n\n"))
    response = await post(http, holder, STREAM)
    assert response.content.startswith(output + b'data: {"error":')
    assert b"upstream_quota" in response.content
    assert b"insufficient_quota" not in response.content


async def test_a_stream_that_ends_with_its_error_is_judged_though_nothing_ends_the_event(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    upstream.script(event_stream(b"data: " + orjson.dumps({"error": MONEY})))
    response = await post(http, holder, STREAM)
    assert b"upstream_quota" in response.content
    assert b"insufficient_quota" not in response.content
    await check_free(pool, holder)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"message":"overloaded",  "type":"server_error"}}\n\n',
        failed(code="server_error", message="The server had an error"),
    ],
)
async def test_a_stream_that_fails_for_another_reason_is_the_same_byte_for_byte(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, event: bytes
) -> None:
    upstream.script(event_stream(event, DONE))
    assert (await post(http, holder, STREAM)).content == event + DONE


async def test_a_document_that_fails_for_the_operators_money_keeps_its_shape(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder
) -> None:
    document = {"id": "r", "status": "failed", "error": {"code": MONEY["code"], "message": QUOTA}}
    headers = [("content-type", "application/json")]
    upstream.script(Response(headers=headers, body=orjson.dumps(document)))
    response = await post(http, holder, RESPONSE, "responses")
    assert (response.status_code, response.json()["error"]["code"]) == (200, "upstream_quota")
    assert {**response.json(), "error": document["error"]} == document
    assert QUOTA not in response.text
