"""A small fake OpenAI as an ASGI app: the endpoints under `/v1`, and how their answers leave.

It lets someone without a key see the whole product work, and it is the tests' default upstream.
Every answer has the real API's shape and headers, every count is a real token count, and the
same request gets the same words back. Nothing is stored and nothing is checked but that there
is some API key.

Ask for a length ("write 300 words"), set a limit, insist on a tool (`tool_choice`), name a JSON
schema; for misbehaviour choose a model from the table in `faults.py`.
"""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from tokenbalance.sandbox.chat import complete_chat
from tokenbalance.sandbox.completions import complete
from tokenbalance.sandbox.embeddings import embed
from tokenbalance.sandbox.faults import (
    ApiError,
    Manner,
    manner_of,
    no_credentials,
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
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tokenbalance.sandbox.replies import Reply

BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024
DEFAULT_PACE_S: Final = 0.05

# What the real API adds to every answer, the parts a proxy must not pass on included.
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


def create_sandbox(*, pace_s: float = DEFAULT_PACE_S) -> ASGIApp:
    """Build the fake OpenAI.

    Args:
        pace_s: seconds between two pieces of an answer of the model `slow`.
    """
    app = Starlette(
        routes=[
            _post("/v1/chat/completions", complete_chat, pace_s),
            _post("/v1/completions", complete, pace_s),
            _post("/v1/embeddings", embed, pace_s),
            _post("/v1/responses", respond, pace_s),
            _post("/v1/responses/input_tokens", count_input, pace_s),
            _post("/v1/moderations", moderate, pace_s),
            Route("/v1/models", _list_models, methods=["GET"]),
            Route("/v1/models/{model:path}", _show_model, methods=["GET"]),
        ],
        exception_handlers={
            ApiError: _render,
            HTTPException: _render,
            Exception: _render,
        },
    )
    app.router.redirect_slashes = False
    return _AsOpenAI(app)


class _AsOpenAI:
    """Wraps the app: asks for a key first, and adds the real API's headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # Lifespan and WebSockets: there is nothing to start and nothing to talk about.
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
    """Sends an answer's parts in the manner its model asks for."""

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
        # Else cut: to return without the last message is how an ASGI app drops the connection.

    async def _send(self, parts: Sequence[bytes], send: Send) -> None:
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # Even at no pace, so that a long answer does not keep others waiting.
            await asyncio.sleep(self._pace_s)


def _post(path: str, generated: Callable[[Fields], Reply], pace_s: float) -> Route:
    """A route whose answer is a plain function of the request's fields."""

    async def endpoint(request: Request) -> ASGIApp:
        fields = Fields.parse(await _body(request))
        model = fields.text("model") or ""
        raise_on_demand(model)
        # In a thread, because counting a large prompt would stop every other answer.
        return _play(await asyncio.to_thread(generated, fields), manner_of(model), pace_s)

    handler: Callable[[Request], Awaitable[Response]] = endpoint  # pyright: ignore[reportAssignmentType]
    return Route(path, handler, methods=["POST"])


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


async def _list_models(_request: Request) -> Response:
    return Response(orjson.dumps(list_models().document), media_type="application/json")


async def _show_model(request: Request) -> Response:
    model = cast("str", request.path_params["model"])
    return Response(orjson.dumps(show_model(model).document), media_type="application/json")


async def _render(request: Request, error: Exception) -> Response:
    """Every error in OpenAI's envelope: its own, those of routing, and surprises."""
    match error:
        case ApiError():
            return _error_response(error)
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return _error_response(wrong_method(request.method, request.url.path))
        case HTTPException():
            return _error_response(unknown_url(request.method, request.url.path))
        case _:
            message = "The sandbox failed to answer; its log says why."
            return _error_response(ApiError(message, status=500, kind="server_error"))


def _error_response(error: ApiError) -> Response:
    return Response(
        orjson.dumps(error.document),
        status_code=error.status,
        headers=error.headers,
        media_type="application/json",
    )
