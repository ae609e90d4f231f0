"""The `/v1` endpoints in the OpenAPI document: what is open, and how each is metered.

The proxy is a mounted ASGI application that FastAPI cannot look into, so its rows are added from
the same table that the proxy matches against.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.endpoints import ENDPOINTS
from tokenbalance.endpoints.table import METERED_BY
from tokenbalance.model import Document, Endpoint, Metering

if TYPE_CHECKING:
    from fastapi import FastAPI

_EXAMPLE_MODEL: Final = "gpt-4o-mini"
_EXAMPLES: Final[dict[Metering, Document]] = {
    Metering.CHAT: {
        "model": _EXAMPLE_MODEL,
        "messages": [{"role": "user", "content": "Say hello in five languages."}],
        "max_completion_tokens": 100,
    },
    Metering.COMPLETIONS: {
        "model": "gpt-3.5-turbo-instruct",
        "prompt": "Once upon a time",
        "max_tokens": 50,
    },
    Metering.EMBEDDINGS: {"model": "text-embedding-3-small", "input": "The quick brown fox"},
    Metering.RESPONSES: {
        "model": _EXAMPLE_MODEL,
        "input": "Say hello in five languages.",
        "max_output_tokens": 100,
    },
    Metering.FREE: {"model": "omni-moderation-latest", "input": "I want to hug you."},
}
_ANSWERS: Final = {
    "200": "The upstream's answer, byte for byte.",
    "400": "The request is not understood; `error.param` names the field.",
    "401": "No valid API key.",
    "402": "The balance cannot cover the request; nothing was sent.",
    "502": "The upstream cannot be reached, or refuses the operator's key; nothing was charged.",
    "503": "The database or the upstream's key is missing; nothing was sent.",
    "504": "The upstream did not answer in time; nothing was charged.",
}


def describe_endpoints(app: FastAPI) -> None:
    """Add every row of the endpoint table to the application's OpenAPI document."""
    document_of_routes = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            document = cast("Document", document_of_routes())
            components = _member(document, "components")
            _member(components, "securitySchemes")["ApiKey"] = {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key of this server.",
            }
            for endpoint in ENDPOINTS:
                path = _member(_member(document, "paths"), f"/v1{endpoint.path}")
                path[endpoint.method.lower()] = _operation(endpoint)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _member(document: Document, name: str) -> Document:
    """Get an object inside a document, made when it is missing."""
    return cast("Document", document.setdefault(name, {}))


def _operation(endpoint: Endpoint) -> Document:
    metering = endpoint.metering if endpoint.charged else Metering.FREE
    operation: Document = {
        "tags": ["OpenAI"],
        "summary": endpoint.summary,
        "description": f"Relayed to the upstream. Metering: {METERED_BY[metering]}.",
        "operationId": f"{endpoint.method}{endpoint.path}".replace("/", "_").strip("{}_"),
        "security": [{"ApiKey": []}],
        "parameters": [
            {"name": found[1], "in": "path", "required": True, "schema": {"type": "string"}}
            for found in re.finditer(r"\{(\w+)\}", endpoint.path)
        ],
        "responses": {status: {"description": text} for status, text in _ANSWERS.items()},
    }
    if endpoint.method == "POST":
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "additionalProperties": True},
                    "example": _EXAMPLES[endpoint.metering],
                }
            },
        }
    return operation
