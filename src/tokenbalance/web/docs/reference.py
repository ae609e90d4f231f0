"""The `/v1` endpoints in the OpenAPI document: what is open, and how each is metered.

FastAPI cannot look into the proxy, a mounted ASGI application, so its operations are added here
from the same table that the proxy matches against.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.openai import SURFACE
from tokenbalance.openai.operation import Answer
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
    from tokenbalance.openai import Surface
    from tokenbalance.openai.operation import Examples, Operation

_ABOUT: Final = (
    "Requests below `/v1` and their responses pass unchanged to and from the upstream. Set the"
    " `base_url` of an SDK to this server's `/v1` and its `api_key` to a key of this server."
    " `/api/openai/...` is the same as `/v1/...`. Credits are held before a request is sent, and"
    " charged for what it used: one per token, unless the operator's rate card says otherwise."
    " What the upstream stores belongs to the account that made it; to others it does not exist."
    " Everything not listed here is refused: with 403 `endpoint_not_allowed` if OpenAI has it but"
    " a shared key cannot allow it, else with 404 `unknown_url`."
)
_KEY: Final[Document] = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key of this server, or a sign-in token.",
}
_WITH_KEY: Final[list[Json]] = [{"ApiKey": []}]


def describe_endpoints(app: FastAPI, surface: Surface = SURFACE) -> None:
    """Add the operations of the table to the application's OpenAPI document."""
    document_of_routes = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            document = cast("Document", document_of_routes())
            _add_shared(document)
            tags = dict.fromkeys(map(_tag, surface.described))
            cast("list[Json]", document.setdefault("tags", [])).extend(
                {"name": tag} for tag in tags
            )
            for operation in surface.described:
                path = _member(_member(document, "paths"), f"/v1{operation.path}")
                path[operation.method.lower()] = _described(operation)
            describe_routes(app, document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _add_shared(document: Document) -> None:
    components = _member(document, "components")
    _member(components, "securitySchemes")["ApiKey"] = _KEY
    _member(components, "schemas").setdefault(ERROR, ERROR_SCHEMA)
    _member(components, "responses").update(shared_responses())
    _member(document, "info")["description"] = _ABOUT


def _member(document: Document, name: str) -> Document:
    """Return an object inside a document, which is added if it is missing."""
    return cast("Document", document.setdefault(name, {}))


def _described(operation: Operation) -> Document:
    shown = _examples_of(operation)
    described: Document = {
        "tags": [_tag(operation)],
        "summary": operation.summary,
        "description": f"Relayed to the upstream. Metering: {operation.metering}.",
        "operationId": operation_id(operation),
        "security": _WITH_KEY,
        "parameters": [
            *(
                _parameter(name, shown.parameters[name])
                for name in cast("list[str]", re.findall(r"\{(\w+)\}", operation.path))
            ),
            *map(_query_parameter, operation.query),
        ],
        "responses": {"200": _relayed(operation, shown), **responses_of(operation)},
    }
    if operation.bodies:
        described["requestBody"] = _request(operation, shown)
    return described


def _examples_of(operation: Operation) -> Examples:
    if operation.examples is None:
        message = f"{operation.method} {operation.path} has no examples"
        raise LookupError(message)
    return operation.examples


def _tag(operation: Operation) -> str:
    """Name the subject of an operation: the first segment of its path."""
    return f"OpenAI: {operation.path.split('/')[1].replace('_', ' ')}"


def operation_id(operation: Operation) -> str:
    """Name an operation in the document, and so in the addresses of its pages."""
    return re.sub(r"\W+", "_", f"{operation.method}{operation.path}").strip("_")


def _parameter(name: str, example: str) -> Document:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": example,
    }


def _query_parameter(name: str) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


def _request(operation: Operation, shown: Examples) -> Document:
    examples: Document = {
        name.lower().replace(" ", "-"): {"summary": name, "value": document}
        for name, document in shown.requests.items()
    }
    schema: Document = {
        "type": "object",
        "additionalProperties": True,
        "description": "As described in OpenAI's API reference.",
    }
    return {
        "required": True,
        "content": {
            body.value: {"schema": schema, "examples": examples} for body in operation.bodies
        },
    }


def _relayed(operation: Operation, shown: Examples) -> Document:
    content: Document = {
        "application/json": {"schema": {"type": "object"}, "example": shown.response}
    }
    if operation.answer is Answer.BYTES:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if shown.stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": shown.stream}
    relayed: Document = {
        "description": "The upstream's response, byte for byte"
        + (', streamed if `"stream": true` was sent.' if shown.stream is not None else "."),
        "headers": relayed_headers(operation),
    }
    return relayed if operation.answer is Answer.NOTHING else {**relayed, "content": content}
