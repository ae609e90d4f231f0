"""Errors of every route outside `/v1`, in the same envelope as those of the proxy."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from tokenbalance.errors import InvalidRequest, ProxyError, UnknownUrl, error_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

_CODES: Final = {404: "unknown_url", 405: "method_not_allowed", 401: "invalid_api_key"}


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of the application OpenAI's envelope."""
    app.add_exception_handler(ProxyError, _on_proxy_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_fault)


def _response(error: ProxyError, status: int) -> JSONResponse:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return JSONResponse(error_document(error), status, headers)


def _on_proxy_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProxyError)  # noqa: S101 - registered for nothing else
    return _response(error, error.status)


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    if error.status_code == HTTPStatus.NOT_FOUND:
        msg = f"Invalid URL: {request.method} on this path is not served here."
        return _response(UnknownUrl(msg), error.status_code)
    document = error_document(InvalidRequest(str(error.detail)))
    document["error"]["code"] = _CODES.get(error.status_code, "invalid_request")
    return JSONResponse(document, error.status_code, error.headers)


def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    first = cast("Mapping[str, object]", error.errors()[0])
    location = cast("tuple[object, ...]", first["loc"])
    field = ".".join(str(part) for part in location[1:]) or None
    return _response(InvalidRequest(f"{field or 'request'}: {first['msg']}", param=field), 400)


def _on_fault(_request: Request, _error: Exception) -> JSONResponse:
    return _response(ProxyError("An internal error occurred; it has been logged."), 500)
