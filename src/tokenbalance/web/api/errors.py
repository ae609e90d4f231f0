"""Errors of every route outside `/v1`, in the same envelope as the proxy's."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from tokenbalance.errors import (
    InvalidRequest,
    MissingScope,
    ProxyError,
    UnknownUrl,
    error_document,
    headers_of,
)
from tokenbalance.openai import meant_path
from tokenbalance.people.refused_keys import note_missing_scope
from tokenbalance.web.api.callers import caller_of
from tokenbalance.web.api.refusals import refusal_at
from tokenbalance.web.context import address_of

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic_core import ErrorDetails
    from starlette.requests import Request

_CODES: Final = {404: "unknown_url", 405: "method_not_allowed", 401: "invalid_api_key"}
_NO_STORE: Final = {"cache-control": "no-store"}


def install_error_handlers(app: FastAPI) -> None:
    """Render every error of the application in OpenAI's envelope."""
    app.add_exception_handler(ProxyError, _on_proxy_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_fault)


def _response(error: ProxyError) -> JSONResponse:
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return JSONResponse(error_document(error), error.status, {**_NO_STORE, **headers})


async def _on_proxy_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProxyError)  # noqa: S101 - registered for nothing else
    if isinstance(error, MissingScope):
        note_missing_scope(caller_of(request), address_of(request))
    return _response(error)


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    if error.status_code == HTTPStatus.NOT_FOUND:
        meant = meant_path(cast("bytes", request.scope.get("raw_path", b"")))
        hint = "" if meant is None else f" Did you mean {meant}? A base URL ends in /v1."
        msg = f"Invalid URL: {request.method} on this path is not served here.{hint}"
        return _response(UnknownUrl(msg))
    document = error_document(InvalidRequest(str(error.detail)))
    document["error"]["code"] = _CODES.get(error.status_code, "invalid_request")
    headers = {**_NO_STORE, **(error.headers or {})}
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed = ", ".join(sorted(_methods_of(request)))
        document["error"]["message"] = f"{request.method} is not allowed here. Allowed: {allowed}."
    return JSONResponse(document, error.status_code, headers)


def _methods_of(request: Request) -> set[str]:
    """Return all methods of a path, from all of its routes."""
    app = cast("FastAPI", request.app)
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    methods = {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return methods | {"HEAD"} if "GET" in methods else methods


def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    """Refuse an invalid path, query or header; bodies are checked elsewhere."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    first = cast("ErrorDetails", error.errors()[0])
    return _response(refusal_at(first["loc"][1:], first["type"], first["msg"]))


def _on_fault(_request: Request, _error: Exception) -> JSONResponse:
    return _response(ProxyError("An internal error occurred; it has been logged."))
