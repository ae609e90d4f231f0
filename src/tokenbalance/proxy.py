"""THE request: the stages in their order, and the closing rule for every way it can end.

    authenticate   bearer key -> caller                                    401
    match          method + raw path -> endpoint                           404 / 403
    estimate       document -> ceiling of what it may cost                 400
    hold           reserve the ceiling, committed before anything is sent  402
    relay          the same bytes there, the same bytes back
    meter          a reader beside the stream
    settle         hold -> charge, before the client sees the end

The closing rule: a placed hold is voided when the upstream did not accept the request, and settled
otherwise, whatever happens to the client, the upstream or this task. `Exchange` keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.document import parse_document
from tokenbalance.endpoints import find_endpoint
from tokenbalance.errors import (
    InsufficientQuota,
    ProxyError,
    ServiceUnavailable,
    UnknownUrl,
    UpstreamNotConfigured,
)
from tokenbalance.exchange import Exchange
from tokenbalance.ledger.rates import wanted_for
from tokenbalance.model import Estimate, Hold, Metering, Purpose, Usage
from tokenbalance.stages import estimate as estimating
from tokenbalance.stages.authenticate import authenticate
from tokenbalance.stages.hold import Admission, place_hold
from tokenbalance.stages.relay import edited_body, headers_for_upstream
from tokenbalance.tokens import count_tokens, encoding_for
from tokenbalance.wire import ClientAnswer, ClientGone, ClientRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import Receive, Scope, Send

    from tokenbalance.database.connections import Pool
    from tokenbalance.ledger.book import Book
    from tokenbalance.model import Caller, Document, Endpoint, Json
    from tokenbalance.stages.settle import Settler
    from tokenbalance.upstream import Upstream

logger = logging.getLogger(__name__)

PREFIXES: Final = (b"/v1", b"/api/openai")
"""Where the proxy is mounted; the second is the original project's name for the same thing."""

AMPLE: Final = 1000
"""An account that affords a request this many times over is not worth tokenizing for: the bound by
bytes is held instead of the count. Nearer to the edge every hold is counted, so that none is larger
than it must be."""

INLINE_BYTES_MAX: Final = 4096
"""Texts up to this bound are counted on the event loop (well below a millisecond), longer ones in a
thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The ASGI application behind `/v1`."""

    pool: Pool
    book: Book
    settler: Settler
    upstream: Upstream | None
    """None when the operator has not configured a key."""
    insufficient_status: int = InsufficientQuota.status
    cancel_on_disconnect: bool = False
    own_headers: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of every answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error of ours is rendered here."""
        request = ClientRequest(scope, receive)
        request_id = new_request_id()
        began = time.perf_counter()
        answer = ClientAnswer(
            send, [*self.own_headers, (b"x-tokenbalance-request-id", request_id.encode())]
        )
        try:
            await self._serve(request, answer, request_id)
        except ClientGone:
            logger.debug("client left before its request was complete: %s", request_id)
        except ProxyError as error:
            if answer.started:
                raise
            await answer.error(error, self._status_of(error))
        finally:
            logger.info(
                "%s %s %d",
                request.method,
                request.shown_path,
                answer.status,
                extra={
                    "request_id": request_id,
                    "milliseconds": round((time.perf_counter() - began) * 1000, 1),
                },
            )

    async def _serve(self, request: ClientRequest, answer: ClientAnswer, request_id: str) -> None:
        with _database_needed():
            caller = await authenticate(self.pool, request.headers)
        path = _path_below_prefix(request.raw_path)
        endpoint = find_endpoint(request.method, path)
        upstream = self._configured_upstream()
        body = await request.read_body()
        document, estimate = _read(endpoint, request, body)

        edits = _usage_to_be_asked_for(endpoint, document)
        exchange = Exchange(
            request=request,
            answer=answer,
            settler=self.settler,
            hides_usage=bool(edits),
            count=lambda text: _counted_usage(endpoint, document, text),
            cancels=self.cancel_on_disconnect,
        )
        if endpoint.charged:
            purpose = Purpose(request_id, endpoint.path, _model_of(document))
            admission = await self._admit(caller, purpose, endpoint, document, estimate)
            exchange.hold = admission.hold
            answer.add_header(b"x-tokenbalance-hold", admission.hold.amount)
            if admission.output_cap is not None and estimate.cap_field is not None:
                edits[estimate.cap_field] = admission.output_cap
                answer.add_header(b"x-tokenbalance-output-cap", admission.output_cap)
        await exchange.run(
            upstream.send(
                request.method,
                _target(path, request.query),
                headers_for_upstream(request.headers),
                edited_body(body, document, edits),
            )
        )

    async def _admit(
        self,
        caller: Caller,
        purpose: Purpose,
        endpoint: Endpoint,
        document: Document,
        bound: Estimate,
    ) -> Admission:
        """Hold the bound by bytes where the account affords it many times over, else the count."""
        if caller.available >= AMPLE * wanted_for(bound):
            # Refused all the same when others have emptied the account since the key was checked.
            with suppress(InsufficientQuota):
                return await self._place(caller, purpose, bound)
        if bound.input_tokens <= INLINE_BYTES_MAX:
            counted = estimating.count(endpoint, document)
        else:
            counted = await asyncio.to_thread(estimating.count, endpoint, document)
        return await self._place(caller, purpose, counted)

    async def _place(self, caller: Caller, purpose: Purpose, estimate: Estimate) -> Admission:
        try:
            with _database_needed():
                return await place_hold(self.book, caller, purpose, estimate)
        except (ServiceUnavailable, asyncio.CancelledError):
            # The hold may have been committed although the answer to it was lost.
            self.settler.void_later(Hold(purpose.request_id, caller.account_id, 0))
            raise

    def _configured_upstream(self) -> Upstream:
        if self.upstream is None:
            msg = "No upstream key is configured here: the operator has to set OPENAI_API_KEY."
            raise UpstreamNotConfigured(msg)
        return self.upstream

    def _status_of(self, error: ProxyError) -> int:
        return self.insufficient_status if isinstance(error, InsufficientQuota) else error.status


def new_request_id() -> str:
    """Name a request: unique, and sorted by time, so that the books are written in one place."""
    milliseconds = time.time_ns() // 1_000_000
    return f"tb_{milliseconds:012x}{os.urandom(10).hex()}"


@contextmanager
def _database_needed() -> Generator[None]:
    """Fail closed: without the database nothing is dispatched."""
    try:
        yield
    except UNAVAILABLE as error:
        logger.warning("the database is unavailable: %s", type(error).__name__)
        msg = "The service is temporarily unavailable; nothing was sent or charged. Try again."
        raise ServiceUnavailable(msg) from error


def _path_below_prefix(raw_path: bytes) -> bytes:
    for prefix in PREFIXES:
        if raw_path.startswith(prefix + b"/"):
            path = raw_path[len(prefix) :]
            # The original project's clients write a slash at the end.
            return path if prefix == PREFIXES[0] else path.rstrip(b"/")
    msg = "Invalid URL: it is not spelled as an endpoint of this server."
    raise UnknownUrl(msg)


def _read(endpoint: Endpoint, request: ClientRequest, body: bytes) -> tuple[Document, Estimate]:
    """Read a request's document strictly, and bound its cost without counting."""
    if endpoint.method == "GET":
        return {}, Estimate(0)
    request.require_json()
    document = parse_document(body)
    if endpoint.metering is Metering.FREE:
        return document, Estimate(0)
    return document, estimating.bound(endpoint, document)


def _usage_to_be_asked_for(endpoint: Endpoint, document: Document) -> dict[str, Json]:
    """Make chat and completion streams report their usage; the other endpoints always do."""
    if endpoint.metering not in {Metering.CHAT, Metering.COMPLETIONS} or not document.get("stream"):
        return {}
    options = document.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if options.get("include_usage") is True:
        return {}
    return {"stream_options": {**options, "include_usage": True}}


def _counted_usage(endpoint: Endpoint, document: Document, text: str) -> Usage:
    """Count what the upstream did not report: the input, and the text that was relayed."""
    counted = estimating.count(endpoint, document).input_tokens
    output = count_tokens(encoding_for(_model_of(document) or ""), text)
    return Usage(input=counted, output=output, total=counted + output, estimated=True)


def _model_of(document: Document) -> str | None:
    model = document.get("model")
    return model if isinstance(model, str) else None


def _target(path: bytes, query: bytes) -> str:
    return (path + b"?" + query if query else path).decode("ascii")
