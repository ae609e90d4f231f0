"""A small fake OpenAI as an ASGI app: the operations under `/v1`, and how responses are sent.

With it the whole product can be tried without a key, and it is the tests' default upstream. Every
response has the real API's shape and headers, every count is a real token count, and the same
request returns the same text. Nothing is stored, and any API key is accepted.

It serves what the product's own table of operations opens: by family, or by path where a path has a
file here. What has neither returns the example of the documentation.

Ask for a length ("write 300 words"), set a limit, force a tool call (`tool_choice`), name a JSON
schema; for faults, choose a model from the table in `faults.py`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from tokenbalance.openai import SURFACE
from tokenbalance.openai.families import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    INPUT_TOKENS,
    RESPONSES,
)
from tokenbalance.sandbox.chat import complete_chat
from tokenbalance.sandbox.completions import complete
from tokenbalance.sandbox.embeddings import embed
from tokenbalance.sandbox.faults import (
    ApiError,
    Manner,
    manner_of,
    no_credentials,
    no_example,
    raise_on_demand,
    unknown_url,
    wrong_method,
)
from tokenbalance.sandbox.fields import Fields
from tokenbalance.sandbox.models import list_models, show_model
from tokenbalance.sandbox.moderations import moderate
from tokenbalance.sandbox.replies import Stream, Whole
from tokenbalance.sandbox.responses import count_input, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tokenbalance.openai import Surface
    from tokenbalance.openai.operation import Family, Operation
    from tokenbalance.sandbox.replies import Reply

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
    app = Starlette(
        routes=[_route(operation, pace_s) for operation in surface.described],
        exception_handlers={
            ApiError: _render,
            HTTPException: _render,
            Exception: _render,
        },
    )
    app.router.redirect_slashes = False
    return _AsOpenAI(app)


_GENERATED: Final[Mapping[Family, Callable[[Fields], Reply]]] = {
    CHAT: complete_chat,
    COMPLETIONS: complete,
    EMBEDDINGS: embed,
    INPUT_TOKENS: count_input,
    RESPONSES: respond,
}
_GENERATED_AT: Final[Mapping[str, Callable[[Fields], Reply]]] = {"/moderations": moderate}
_READ_AT: Final[Mapping[str, Callable[[Mapping[str, str]], Whole]]] = {
    "/models": lambda _: list_models(),
    "/models/{model}": lambda parameters: show_model(parameters["model"]),
}


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


class _Playback:
    """Sends a response's parts in the manner that its model stands for."""

    def __init__(
        self, parts: Sequence[bytes], content_type: str, manner: Manner, pace_s: float
    ) -> None:
        self._parts = parts
        self._content_type = content_type
        self._manner = manner
        self._pace_s = pace_s if manner is Manner.SLOW else 0.0

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self._content_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        whole = self._manner in {Manner.PROMPT, Manner.SLOW}
        await self._send(self._parts if whole else self._parts[: len(self._parts) // 2], send)
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._manner is Manner.STALL:
            while (await receive())["type"] != "http.disconnect":
                pass
        # Manner.CUT: an ASGI app drops the connection by returning without the last message.

    async def _send(self, parts: Sequence[bytes], send: Send) -> None:
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # Even without a pace, so that a long response does not block others.
            await asyncio.sleep(self._pace_s)


def _route(operation: Operation, pace_s: float) -> Route:
    read = _READ_AT.get(operation.path)
    if read is not None or not operation.bodies:
        endpoint = _reading(read or partial(_example, operation))
    else:
        generate = _GENERATED_AT.get(operation.path) or _GENERATED.get(operation.family)
        endpoint = _generating(generate or partial(_example, operation), pace_s)
    # A model's name may have slashes in it, decoded here.
    path = re.sub(r"\{(\w+)\}", r"{\1:path}", operation.path)
    return Route(f"/v1{path}", endpoint, methods=[operation.method])


def _example(operation: Operation, _request: object) -> Whole:
    if operation.examples is None:
        raise no_example(operation.method, operation.path)
    return Whole(operation.examples.response)


def _reading(read: Callable[[Mapping[str, str]], Whole]) -> _Handler:
    """An endpoint whose response is a plain function of the path's parameters."""

    async def endpoint(request: Request) -> Response:
        parameters = cast("dict[str, str]", request.path_params)
        return Response(orjson.dumps(read(parameters).document), media_type="application/json")

    return endpoint


def _generating(generate: Callable[[Fields], Reply], pace_s: float) -> _Handler:
    """An endpoint whose response is a plain function of the request's fields."""

    async def endpoint(request: Request) -> ASGIApp:
        fields = Fields.parse(await _body(request))
        model = fields.text("model") or ""
        raise_on_demand(model)
        # In a thread, because counting a large prompt would stop every other response.
        return _play(await asyncio.to_thread(generate, fields), manner_of(model), pace_s)

    # Starlette's type for handlers does not say that it calls any ASGI app they return.
    return cast("_Handler", endpoint)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            message = "The request body is too large for the sandbox."
            raise ApiError(message, status=413, code="request_too_large")
    return bytes(body)


def _play(reply: Reply, manner: Manner, pace_s: float) -> ASGIApp:
    match reply:
        case Stream(events):
            return _Playback(events, "text/event-stream; charset=utf-8", manner, pace_s)
        case Whole(document) if manner is Manner.PROMPT:
            return Response(orjson.dumps(document), media_type="application/json")
        case Whole(document):
            body = orjson.dumps(document)
            halves = (body[: len(body) // 2], body[len(body) // 2 :])
            return _Playback(halves, "application/json", manner, pace_s)


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
