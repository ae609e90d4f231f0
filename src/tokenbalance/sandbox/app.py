"""A small fake OpenAI as an ASGI app: the operations under `/v1`, and how responses are sent.

With it the whole product can be tried without a key, and it is the tests' default upstream. Every
response has the real API's shape and headers, every count is a real token count, and the same
request returns the same text. Any API key is accepted, and objects that are made live in the memory
of the process, for a while (`memory`).

It serves what has a file here, and what the product's own table of operations opens beside that.

Ask for a length ("write 300 words"), set a limit, force a tool call (`tool_choice`), offer a hosted
tool and ask for it ("draw a cat"), name a JSON schema; for faults, choose a model from the table in
`faults.py`.
"""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from tokenbalance.openai import SURFACE
from tokenbalance.sandbox.calls import Attachment, Call, read_form
from tokenbalance.sandbox.endpoints import ENDPOINTS, endpoint_of
from tokenbalance.sandbox.faults import (
    ApiError,
    manner_of,
    no_credentials,
    raise_on_demand,
    unknown_url,
    wrong_method,
)
from tokenbalance.sandbox.fields import Fields, refuse_wrong_metadata
from tokenbalance.sandbox.memory import Memory
from tokenbalance.sandbox.playback import play

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tokenbalance.openai import Surface
    from tokenbalance.sandbox.calls import Endpoint

    _Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024
DEFAULT_PACE_S: Final = 0.05

# What the real API adds to every response, including what a proxy must not pass on.
_UPSTREAM_HEADERS: Final = {
    "openai-organization": "sandbox",
    "openai-project": "proj_sandbox",
    "openai-version": "2020-10-01",
    "openai-processing-ms": "12",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999000",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "30ms",
    "set-cookie": "__cf_bm=sandbox; path=/; HttpOnly; Secure; SameSite=None",
}


def create_sandbox(*, pace_s: float = DEFAULT_PACE_S, surface: Surface = SURFACE) -> ASGIApp:
    """Build the fake OpenAI.

    Args:
        pace_s: seconds between two pieces of a response of the model `slow`.
        surface: the operations that it serves.
    """
    memory = Memory()
    app = Starlette(
        routes=_routes(surface, memory, pace_s),
        exception_handlers={
            ApiError: _render,
            HTTPException: _render,
            Exception: _render,
        },
    )
    app.router.redirect_slashes = False
    return _AsOpenAI(app)


class _AsOpenAI:
    """Wraps the app: requires a key, and adds the real API's headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # Neither lifespan nor WebSockets are needed.
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_UPSTREAM_HEADERS)
                headers["x-request-id"] = f"req_{secrets.token_hex(16)}"
            await send(message)

        app = self._app if _has_key(scope) else _error_response(no_credentials())
        await app(scope, receive, send_with_headers)


def _routes(surface: Surface, memory: Memory, pace_s: float) -> list[Route]:
    described = {f"{one.method} {one.path}": endpoint_of(one) for one in surface.described}
    served = {**described, **ENDPOINTS}
    # A path's own words come before a parameter of another one.
    return [
        _route(name, served[name], memory, pace_s)
        for name in sorted(served, key=lambda name: name.replace("{", "~"))
    ]


def _route(name: str, endpoint: Endpoint, memory: Memory, pace_s: float) -> Route:
    method, _, path = name.partition(" ")
    # A model's name may have slashes in it, decoded here.
    path = path.replace("{model}", "{model:path}")
    return Route(f"/v1{path}", _handler(endpoint, memory, pace_s), methods=[method])


def _handler(endpoint: Endpoint, memory: Memory, pace_s: float) -> _Handler:
    """Serve an endpoint, a plain function from a request to its reply."""

    async def handle(request: Request) -> ASGIApp:
        fields, files = await _read(request)
        model = fields.text("model") or ""
        raise_on_demand(model)
        refuse_wrong_metadata(fields)
        path = cast("dict[str, str]", request.path_params)
        call = Call(fields, memory, path, request.query_params, files)
        # In a thread, because counting a large prompt would stop every other response.
        reply = await asyncio.to_thread(endpoint, call)
        return play(reply, manner_of(model), pace_s, request.headers.get("range"))

    # Starlette's type for handlers does not say that it calls any ASGI app they return.
    return cast("_Handler", handle)


async def _read(request: Request) -> tuple[Fields, dict[str, list[Attachment]]]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_part_size=BODY_LIMIT_BYTES) as form:
            return await read_form(form)
    body = await _body(request)
    # Some operations have no body, and SDKs send none.
    if not body and (request.method != "POST" or request.path_params):
        return Fields({}), {}
    return Fields.parse(body), {}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            message = "The request body is too large for the sandbox."
            raise ApiError(message, status=413, code="request_too_large")
    return bytes(body)


def _has_key(scope: Scope) -> bool:
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


async def _render(request: Request, error: Exception) -> Response:
    """Render every error in OpenAI's envelope: our own, those of routing, and unexpected ones."""
    match error:
        case ApiError():
            return _error_response(error)
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return _error_response(wrong_method(request.method, request.url.path))
        case HTTPException(status_code=HTTPStatus.BAD_REQUEST, detail=detail):
            return _error_response(ApiError(detail))
        case HTTPException():
            return _error_response(unknown_url(request.method, request.url.path))
        case _:
            message = "The sandbox failed; see its log."
            return _error_response(ApiError(message, status=500, kind="server_error"))


def _error_response(error: ApiError) -> Response:
    return Response(
        orjson.dumps(error.document),
        status_code=error.status,
        headers=error.headers,
        media_type="application/json",
    )
