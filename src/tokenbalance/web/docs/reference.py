"""The `/v1` endpoints in the OpenAPI document: what is open, and how each is metered.

The proxy is a mounted ASGI application that FastAPI cannot look into, so its rows are added from
the same table that the proxy matches against.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.openai import DESCRIBED
from tokenbalance.openai.examples import EXAMPLES
from tokenbalance.openai.operation import Metering, Operation
from tokenbalance.openai.operations import METERED_BY
from tokenbalance.web.docs.describing import describe_routes
from tokenbalance.web.docs.endpoint_responses import (
    ERROR,
    ERROR_SCHEMA,
    relayed_headers,
    responses_of,
    shared_responses,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tokenbalance.model import Document, Json

_TAG: Final[Document] = {
    "name": "OpenAI",
    "description": "Relayed to the upstream: the same bytes there, the same bytes back. Set an"
    " SDK's `base_url` to this server's `/v1` and its `api_key` to a key of this server."
    " `/api/openai/...` is the same as `/v1/...`. Credits are held before a request is sent, and"
    " charged for what was used: one for each token, unless the operator's rate card says"
    " otherwise. What is not listed here is refused: 404 `unknown_url`, or 403"
    " `endpoint_not_allowed` where a shared key cannot allow it.",
}
_KEY: Final[Document] = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key of this server, or a sign-in token.",
}
_WITH_KEY: Final[list[Json]] = [{"ApiKey": []}]
_EXAMPLE_PARAMETERS: Final = {"model": "gpt-4o-mini"}


def describe_endpoints(app: FastAPI) -> None:
    """Add the rows of the endpoint table to the application's OpenAPI document."""
    document_of_routes = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            document = cast("Document", document_of_routes())
            _add_shared(document)
            for endpoint in DESCRIBED:
                path = _member(_member(document, "paths"), f"/v1{endpoint.path}")
                path[endpoint.method.lower()] = _operation(endpoint)
            describe_routes(app, document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _add_shared(document: Document) -> None:
    components = _member(document, "components")
    _member(components, "securitySchemes")["ApiKey"] = _KEY
    _member(components, "schemas").setdefault(ERROR, ERROR_SCHEMA)
    _member(components, "responses").update(shared_responses())
    cast("list[Json]", document.setdefault("tags", [])).append(_TAG)


def _member(document: Document, name: str) -> Document:
    """Get an object inside a document, made when it is missing."""
    return cast("Document", document.setdefault(name, {}))


def _operation(endpoint: Operation) -> Document:
    metering = endpoint.metering if endpoint.charged else Metering.FREE
    operation: Document = {
        "tags": [cast("str", _TAG["name"])],
        "summary": endpoint.summary,
        "description": f"Relayed to the upstream. Metering: {METERED_BY[metering]}.",
        "operationId": operation_id(endpoint),
        "security": _WITH_KEY,
        "parameters": [_parameter(found[1]) for found in re.finditer(r"\{(\w+)\}", endpoint.path)],
        "responses": {"200": _relayed(endpoint), **responses_of(endpoint)},
    }
    if endpoint.method == "POST":
        operation["requestBody"] = _request(endpoint)
    return operation


def operation_id(endpoint: Operation) -> str:
    """Name an endpoint in the document, and so in the addresses of its pages."""
    return re.sub(r"\W+", "_", f"{endpoint.method}{endpoint.path}").strip("_")


def _parameter(name: str) -> Document:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": _EXAMPLE_PARAMETERS[name],
    }


def _request(endpoint: Operation) -> Document:
    examples: Document = {
        name.lower().replace(" ", "-"): {"summary": name, "value": document}
        for name, document in EXAMPLES[endpoint.path].requests.items()
    }
    schema: Document = {
        "type": "object",
        "additionalProperties": True,
        "description": "As OpenAI's API reference describes it.",
    }
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def _relayed(endpoint: Operation) -> Document:
    shown = EXAMPLES[endpoint.path]
    content: Document = {
        "application/json": {"schema": {"type": "object"}, "example": shown.response}
    }
    if shown.stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": shown.stream}
    return {
        "description": "The upstream's answer, byte for byte"
        + (', streamed when `"stream": true` was sent.' if shown.stream is not None else "."),
        "headers": relayed_headers(endpoint),
        "content": content,
    }
