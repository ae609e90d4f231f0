"""Errors of the sandbox, and the faults that are asked for by the name of a model."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

import httpx2
import openai
import pytest
from openai.types import CompletionUsage

from tests.support.sandbox_client import (
    HELLO,
    MODEL,
    WEATHER,
    chat,
    read_into,
    streamed_chat,
    streamed_response,
)
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import count
from tokenbalance.sandbox.serving import Sandbox, serve_in_thread

# Errors


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("error-400", openai.BadRequestError),
        ("error-401", openai.AuthenticationError),
        ("error-403", openai.PermissionDeniedError),
        ("error-404", openai.NotFoundError),
        ("error-429", openai.RateLimitError),
        ("error-500", openai.InternalServerError),
        ("error-503", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_on_demand_is_the_sdks_own_exception(
    client: openai.OpenAI, model: str, expected: type[openai.APIStatusError], *, stream: bool
) -> None:
    with pytest.raises(expected) as caught:
        client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    error = caught.value
    assert error.status_code == int(model.removeprefix("error-"))
    assert set(error.response.json()["error"]) == {"message", "type", "param", "code"}
    assert (error.response.headers.get("retry-after") == "1") is (model == "error-429")


@pytest.mark.parametrize(
    ("path", "fields", "param", "code"),
    [
        ("chat/completions", {"messages": HELLO}, "model", "missing_required_parameter"),
        ("chat/completions", {"model": MODEL}, "messages", "missing_required_parameter"),
        ("chat/completions", {"model": MODEL, "messages": []}, "messages", "empty_array"),
        ("chat/completions", {"model": MODEL, "messages": "hi"}, "messages", "invalid_type"),
        (
            "chat/completions",
            {"model": MODEL, "messages": [{"role": "boss", "content": "hi"}]},
            "messages[0].role",
            "invalid_value",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "max_tokens": 0},
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "max_tokens": True},
            "max_tokens",
            "invalid_type",
        ),
        (
            "chat/completions",
            {"model": "gpt-5", "messages": HELLO, "max_tokens": 9},
            "max_tokens",
            "unsupported_parameter",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "n": 129},
            "n",
            "integer_above_max_value",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "temperature": -1},
            "temperature",
            "decimal_below_min_value",
        ),
        ("responses", {"model": MODEL}, "input", "missing_required_parameter"),
        (
            "responses",
            {"model": MODEL, "input": "hi", "max_output_tokens": 15},
            "max_output_tokens",
            "integer_below_min_value",
        ),
        ("completions", {"model": MODEL, "prompt": []}, "prompt", "empty_array"),
        ("embeddings", {"model": MODEL, "input": [1.5]}, "input[0]", "invalid_type"),
        ("moderations", {}, "input", "missing_required_parameter"),
    ],
)
def test_a_wrong_field_is_refused_in_openais_words(
    http: httpx2.Client, path: str, fields: dict[str, Any], param: str, code: str
) -> None:
    response = http.post(path, json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(http: httpx2.Client, body: bytes) -> None:
    response = http.post("/chat/completions", content=body)
    assert response.status_code == 400
    assert "JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic abc"])
def test_who_shows_no_key_gets_401(sandbox: Sandbox, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    response = httpx2.get(f"{sandbox.base_url}/models", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/chat/completions", 405), ("POST", "/models/", 405)],
)
def test_an_unknown_url_is_refused_in_the_envelope(
    http: httpx2.Client, method: str, path: str, status: int
) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_responses_have_headers_that_a_proxy_must_not_pass_on(http: httpx2.Client) -> None:
    good, bad = http.get("/models"), http.get("/nothing")
    for response in (good, bad):
        assert response.headers["x-request-id"].startswith("req_")
        for name in ("openai-processing-ms", "openai-version", "openai-organization"):
            assert name in response.headers
        assert "x-ratelimit-remaining-tokens" in response.headers
        assert "__cf_bm" in response.headers["set-cookie"]
    assert good.headers["x-request-id"] != bad.headers["x-request-id"]


# Bad days


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_response_breaks_off_in_the_middle_and_is_no_error_in_the_log(
    http: httpx2.Client, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    caplog.set_level(logging.ERROR, "uvicorn.error")
    received = bytearray()
    with pytest.raises(httpx2.RemoteProtocolError):
        read_into(received, http, "cut", stream=stream)
    assert received
    assert b"[DONE]" not in received
    assert not caplog.records


def test_a_stalled_response_stops_half_way(http: httpx2.Client) -> None:
    received = bytearray()
    http.timeout = httpx2.Timeout(0.3)
    with pytest.raises(httpx2.ReadTimeout):
        read_into(received, http, "stall", stream=True)
    assert received.count(b"data: ") > 10
    assert b"[DONE]" not in received


def test_a_slow_response_is_complete(client: openai.OpenAI) -> None:
    chunks = streamed_chat(client, model="slow", max_tokens=3)
    assert len(chunks) == 5
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_response_without_usage_has_no_usage_member(client: openai.OpenAI) -> None:
    assert chat(client, model="no-usage").usage is None
    wanted = {"include_usage": True}
    chunks = streamed_chat(client, model="no-usage", stream_options=wanted)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    last = streamed_response(client, model="no-usage")[-1]
    assert last.type == "response.completed"
    assert last.response.usage is None


def test_a_stopped_sandbox_frees_its_port_even_in_mid_response() -> None:
    first = serve_in_thread()
    with httpx2.Client(headers={"authorization": "Bearer any"}) as http:
        body = {"model": "stall", "messages": HELLO, "stream": True}
        request = http.build_request("POST", f"{first.base_url}/chat/completions", json=body)
        with closing(http.send(request, stream=True)):
            first.stop()
    with serve_in_thread(first.port) as second:
        assert second.base_url == first.base_url


def test_a_port_that_is_taken_is_an_error_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        serve_in_thread(sandbox.port)


# What the proxy makes of it


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": HELLO},
        {"messages": HELLO, "tools": [{"type": "function", "function": WEATHER}] * 3},
        {"messages": HELLO, "response_format": {"type": "json_object"}},
        {
            "messages": HELLO,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "weather", "schema": WEATHER["parameters"]},
            },
        },
        {
            "messages": [
                *HELLO,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Rain, 🌧️ again."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "And here?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://example.com/a.png", "detail": "low"},
                        },
                    ],
                },
            ]
        },
    ],
)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "slow"])
def test_the_sandbox_never_reports_more_input_than_the_proxy_holds(
    client: openai.OpenAI, model: str, fields: dict[str, Any]
) -> None:
    endpoint = find_operation("POST", b"/chat/completions")
    usage = chat(client, model=model, max_completion_tokens=1, **fields).usage
    assert isinstance(usage, CompletionUsage)
    assert usage.prompt_tokens <= count(endpoint, {"model": model, **fields}).input_tokens
