"""The `/v1` endpoints as the OpenAPI document describes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from fastapi import FastAPI

from tokenbalance.openai import SURFACE, find_operation
from tokenbalance.openai.estimate import bound
from tokenbalance.openai.operation import Answer
from tokenbalance.web.docs.reference import describe_endpoints, operation_id

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Operation

EVERY = pytest.mark.parametrize("endpoint", SURFACE.described, ids=operation_id)


@pytest.fixture(scope="module")
def document() -> Any:
    app = FastAPI()
    describe_endpoints(app)
    return app.openapi()


def operation_of(document: Any, endpoint: Operation) -> Any:
    return document["paths"][f"/v1{endpoint.path}"][endpoint.method.lower()]


def resolved(document: Any, response: Any) -> Any:
    """Follow a reference, if it is one."""
    found = document
    for part in response.get("$ref", "").split("/")[1:]:
        found = found[part]
    return found if "$ref" in response else response


@EVERY
def test_an_endpoint_has_examples_of_requests_and_responses(
    document: Any, endpoint: Operation
) -> None:
    operation = operation_of(document, endpoint)
    content = operation["responses"]["200"].get("content", {})
    if endpoint.answer is Answer.BYTES:
        assert "application/octet-stream" in content
    elif endpoint.answer is not Answer.NOTHING:
        assert content["application/json"]["example"]
    assert ("requestBody" in operation) is bool(endpoint.bodies)
    streamed = endpoint.charged and endpoint.path != "/embeddings"
    assert ("text/event-stream" in content) is streamed


@EVERY
def test_what_is_sent_by_example_is_understood_by_the_proxy(endpoint: Operation) -> None:
    assert endpoint.examples
    assert bool(endpoint.examples.requests) is bool(endpoint.bodies)
    for request in endpoint.examples.requests.values():
        if endpoint.ceiling is not None:
            assert bound(endpoint, request).input_tokens > 0


def test_a_chat_is_shown_in_one_piece_first_and_streamed_second(document: Any) -> None:
    operation = operation_of(document, find_operation("POST", b"/chat/completions"))
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert [example["value"].get("stream") for example in examples.values()] == [None, True]


@EVERY
def test_the_headers_of_a_response_are_described(document: Any, endpoint: Operation) -> None:
    headers = operation_of(document, endpoint)["responses"]["200"]["headers"]
    assert {"x-request-id", "x-tokenbalance-request-id"} <= set(headers)
    assert ("x-tokenbalance-charge" in headers) is endpoint.charged


@EVERY
def test_each_refusal_is_shown_by_errors_with_all_four_keys(
    document: Any, endpoint: Operation
) -> None:
    responses = operation_of(document, endpoint)["responses"]
    own = {status: resolved(document, response) for status, response in responses.items()}
    assert {"401", "404", "429", "502", "503", "504", "default"} <= set(own)
    assert ({"402", "424"} <= set(own)) is endpoint.charged
    assert ({"408", "413", "415"} <= set(own)) is bool(endpoint.bodies)
    assert ("400" in own) is bool(endpoint.bodies or endpoint.query)
    for status in set(own) - {"200", "default"}:
        examples = own[status]["content"]["application/json"]["examples"]
        for name, example in examples.items():
            error = example["value"]["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] == name.partition(" ")[0]


def test_endpoints_are_grouped_by_what_they_are_about(document: Any) -> None:
    used = {
        tag for endpoint in SURFACE.described for tag in operation_of(document, endpoint)["tags"]
    }
    assert {"OpenAI: files", "OpenAI: vector stores", "OpenAI: chat"} <= used
    assert {tag["name"] for tag in document["tags"]} == used


def test_the_parameters_of_a_query_are_described(document: Any) -> None:
    operation = operation_of(document, find_operation("GET", b"/conversations/conv_1/items"))
    told = [(one["name"], one["in"]) for one in operation["parameters"]]
    assert told == [
        ("conversation_id", "path"),
        *((name, "query") for name in ("after", "include", "limit", "order")),
    ]


def test_every_reference_leads_somewhere(document: Any) -> None:
    references = set(re.findall(rb'"\$ref":"([^"]+)"', orjson.dumps(document)))
    assert len(references) > 10
    for reference in references:
        assert resolved(document, {"$ref": reference.decode()})
