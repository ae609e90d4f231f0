"""What FastAPI cannot know about a management route, added to its entry in the OpenAPI document.

The body that a route reads, who may call it, and every status that it can return are derived from
the route's dependencies, so that none can be forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import iter_route_contexts

from tokenbalance.errors import (
    HeadTooLarge,
    IdempotencyKeyReused,
    InvalidApiKey,
    InvalidType,
    NotAllowed,
    NotFound,
    ProxyError,
    RequestTimeout,
    RequestTooLarge,
    ServiceUnavailable,
    TooManyAttempts,
    UnsupportedMediaType,
    UrlTooLong,
    error_document,
)
from tokenbalance.web.api.bodies import BODY_BYTES_MAX, BodyModel
from tokenbalance.web.api.callers import may_create_users, signed_in, superuser
from tokenbalance.web.api.domain import IDEMPOTENCY_HEADER
from tokenbalance.web.api.routing import ApiRoute
from tokenbalance.web.docs.endpoint_responses import ERROR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI
    from fastapi.dependencies.models import Dependant

    from tokenbalance.model import Document, Json

_RESPONSES: Final[Mapping[int, tuple[str, ProxyError]]] = {
    400: (
        "The request is invalid or refused; `error.param` names the field.",
        InvalidType(
            "Invalid type for 'balance': Input should be a valid integer.", param="balance"
        ),
    ),
    401: ("No valid API key or sign-in token.", InvalidApiKey("Incorrect API key provided.")),
    403: ("Not allowed.", NotAllowed("This requires a superuser.")),
    404: ("It does not exist, or it belongs to another user.", NotFound("No user has the id 8.")),
    408: (
        "The body did not arrive in time.",
        RequestTimeout("The request body did not arrive in time."),
    ),
    409: (
        "The idempotency key was used before, with other contents.",
        IdempotencyKeyReused(
            "This idempotency key was used before, with another amount or note.",
            param=IDEMPOTENCY_HEADER,
        ),
    ),
    413: (
        "The body is too large.",
        RequestTooLarge(f"The request body is larger than {BODY_BYTES_MAX} bytes."),
    ),
    414: ("The URL is too long.", UrlTooLong("The URL is longer than 16384 bytes.")),
    415: (
        "The body is not plain JSON in UTF-8.",
        UnsupportedMediaType("The request body must be JSON in UTF-8."),
    ),
    429: (
        "Too many attempts; `Retry-After` is the number of seconds to wait.",
        TooManyAttempts(60),
    ),
    431: (
        "The headers are too large.",
        HeadTooLarge("The headers are larger than 65536 bytes."),
    ),
    503: (
        "The database is unavailable, or too many password checks are queued; retry.",
        ServiceUnavailable("The database is unavailable"),
    ),
}
_ERRORS: Final = 400
_OF_FASTAPI: Final = frozenset({"ValidationError", "HTTPValidationError"})


def describe_routes(app: FastAPI, document: Document) -> None:
    """Complete the management routes in an OpenAPI document."""
    schemas = _member(_member(document, "components"), "schemas")
    for name in _OF_FASTAPI:
        schemas.pop(name, None)
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, ApiRoute):
            path = _member(_member(document, "paths"), route.path_format)
            for method in route.methods or ():
                _describe(route, _member(path, method.lower()))


def _error_response(status: int) -> Document:
    description, error = _RESPONSES[status]
    envelope: Json = {name: {**members} for name, members in error_document(error).items()}
    content: Json = {"schema": {"$ref": f"#/components/schemas/{ERROR}"}, "example": envelope}
    return {"description": description, "content": {"application/json": content}}


def _describe(route: ApiRoute, operation: Document) -> None:
    dependencies = set(_dependencies(route.dependant))
    bodies = [found for found in dependencies if isinstance(found, BodyModel)]
    fields = {field.alias for field in get_flat_params(route.dependant)}
    for body in bodies:
        operation["requestBody"] = _body(body)
        fields |= set(body.model.model_fields)
    if dependencies & {signed_in, may_create_users}:
        operation["security"] = [{"ApiKey": []}]
    responses = _member(operation, "responses")
    responses.pop("422", None)
    statuses = {
        400,
        414,
        431,
        503,
        *(int(status) for status in route.responses if int(status) >= _ERRORS),
    }
    for needs, added in (
        (bool(dependencies & {signed_in, may_create_users}), {401}),
        (bool(dependencies & {superuser, may_create_users}) or "user_id" in fields, {403}),
        (bool(route.param_convertors) or "user_id" in fields, {404}),
        (bool(bodies), {408, 413, 415}),
    ):
        statuses |= added if needs else set()
    for status in sorted(statuses):
        responses[str(status)] = _error_response(status)


def _dependencies(dependant: Dependant) -> Iterator[object]:
    for below in dependant.dependencies:
        yield below.call
        yield from _dependencies(below)


def _body(body: BodyModel) -> Document:
    schema = cast("Document", body.model.model_json_schema())
    example: Json = {"schema": schema, "example": cast("list[Json]", schema.pop("examples"))[0]}
    content: Document = {"application/json": example, **body.other_types}
    return {"required": True, "content": content}


def _member(document: Document, name: str) -> Document:
    """Return an object inside a document, which is added if it is missing."""
    return cast("Document", document.setdefault(name, {}))
