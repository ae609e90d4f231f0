"""THE request: the stages in their order, and the closing rule for every way it can end.

    preflight      a browser asks what it may send                         204
    authenticate   bearer key -> caller                                    401
    match          method + raw path -> endpoint                           404 / 403
    estimate       document -> ceiling of what it may cost                 400
    hold           reserve the ceiling, or wait for it; committed before
                   anything is sent                                        402 / 429
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
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.holds.journal import JournalUnavailable
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import (
    ProxyError,
    ServiceUnavailable,
    UpstreamLoop,
    UpstreamNotConfigured,
    WebSocketNotSupported,
)
from tokenbalance.model import OPENAI, Estimate, Purpose
from tokenbalance.offload import offload
from tokenbalance.openai import SURFACE, is_socket
from tokenbalance.openai import estimate as estimating
from tokenbalance.openai.editing import with_members
from tokenbalance.openai.objects.models import check_model_path, without_fine_tunes
from tokenbalance.proxy.exchange import Exchange
from tokenbalance.proxy.reading import (
    counted,
    is_ample,
    model_of,
    path_below_prefix,
    rates_of,
    read_request,
)
from tokenbalance.telemetry.alarms import Alarms
from tokenbalance.wire.client.cors import CrossOrigin, is_preflight
from tokenbalance.wire.client.request import (
    BODY_BYTES_MAX,
    ClientGone,
    ClientRequest,
    ClientResponse,
    decoded,
)
from tokenbalance.wire.passing_headers import PassingHeaders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from tokenbalance.books.holds.leases import Lease, Leases
    from tokenbalance.books.holds.settler import Settler
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Document, UpstreamTraits
    from tokenbalance.openai import Surface
    from tokenbalance.openai.operation import Operation
    from tokenbalance.people.callers import Callers
    from tokenbalance.proxy.admission import Admission, Admissions
    from tokenbalance.telemetry.metrics import Metrics
    from tokenbalance.wire.upstream import Upstream, UpstreamResponse

logger = logging.getLogger(__name__)

READ_INLINE_BYTES_MAX: Final = 256 * 1024
"""Bodies up to this size are parsed on the event loop (in a few milliseconds), longer ones in a
thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The ASGI application behind `/v1`."""

    pool: Pool
    callers: Callers
    leases: Leases
    admissions: Admissions
    settler: Settler
    metrics: Metrics
    upstream: Upstream | None
    """None when the operator has not configured a key."""
    traits: UpstreamTraits = OPENAI
    """What requests are bounded for."""
    surface: Surface = SURFACE
    """The operations that are open."""
    rate_card: RateCard | None = None
    """None: every token is one credit."""
    cancel_on_disconnect: bool = False
    alarms: Alarms = field(default_factory=Alarms)
    own_headers: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of every answer."""
    passing: PassingHeaders = field(default_factory=PassingHeaders)
    cross_origin: CrossOrigin = field(default_factory=CrossOrigin)
    body_bytes_max: int = BODY_BYTES_MAX
    hop: bytes = b""
    """What the requests that we send upstream are marked with; empty: nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error of ours is rendered here."""
        request = ClientRequest(scope, receive)
        request_id = new_request_id()
        began = time.perf_counter()
        response = ClientResponse(
            send, [*self.own_headers, (b"x-tokenbalance-request-id", request_id.encode())]
        )
        if self.cross_origin.is_open:
            response.add_headers(self.cross_origin.headers_for(request.headers))
        try:
            if is_preflight(request.method, request.headers):
                headers = self.cross_origin.preflight(request.headers)
                await response.whole(HTTPStatus.NO_CONTENT, headers, b"")
            else:
                await self._serve(request, response, request_id)
        except asyncio.CancelledError:
            # Nothing was sent yet: afterwards the exchange has its own answer to this.
            if not response.started:
                stopping = ServiceUnavailable("This server is stopping")
                await response.error(stopping, stopping.status)
        except ClientGone:
            logger.debug("client left before its request was complete: %s", request_id)
        except ProxyError as error:
            if response.started:
                raise
            await response.error(error, error.status)
        except Exception:
            if response.started:
                raise
            logger.exception("a fault of ours: %s", request_id)
            fault = ProxyError("An internal error occurred; it has been logged.")
            await response.error(fault, fault.status)
        finally:
            seconds = time.perf_counter() - began
            self.metrics.responded(request.method, request.raw_path, response.status, seconds)
            logger.info(
                "%s %s %d",
                request.method,
                request.shown_path,
                response.status,
                extra={
                    "request_id": request_id,
                    "milliseconds": round(seconds * 1000, 1),
                },
            )

    async def _serve(
        self, request: ClientRequest, response: ClientResponse, request_id: str
    ) -> None:
        self._refuse_own(request)
        try:
            caller = await self.callers.authenticate(request.headers)
        except UNAVAILABLE as error:
            raise _no_database(error) from error
        path, endpoint = _match(self.surface, request)
        upstream = self._configured_upstream()
        codings = request.codings()
        body = await request.read_body(self.body_bytes_max)
        if codings and body:
            body = await decoded(body, codings, self.body_bytes_max)
        if len(body) <= READ_INLINE_BYTES_MAX:
            document, estimate = _read(endpoint, request, body, self.traits)
        else:
            document, estimate = await offload(_read, endpoint, request, body, self.traits)

        edits = endpoint.usage_request(document)
        exchange = Exchange(
            request=request,
            response=response,
            settler=self.settler,
            streams=document.get("stream") is True,
            passing=self.passing,
            hides_usage=bool(edits),
            count=estimating.UsageCounter(endpoint, document, self.traits),
            cancels=self.cancel_on_disconnect,
            model=model_of(document),
            alarms=self.alarms,
        )
        if endpoint.charged:
            rates = rates_of(self.rate_card, document)
            purpose = Purpose(request_id, endpoint.path, model_of(document), rates)
            lease = self._begin(caller, purpose)
            admission = await self._admit(request, lease, endpoint, document, estimate)
            exchange.lease, exchange.ceiling = lease, admission.ceiling
            response.add_header(b"x-tokenbalance-hold", admission.hold.amount)
            edits |= admission.told
            if admission.output_cap is not None:
                response.add_header(b"x-tokenbalance-output-cap", admission.output_cap)
            if admission.calls_cap is not None:
                response.add_header(b"x-tokenbalance-tool-calls-cap", admission.calls_cap)

        def send() -> Awaitable[UpstreamResponse]:
            return upstream.send(
                endpoint.method,
                _target(path, request.query),
                self.passing.for_upstream(request.headers),
                with_members(body, document, edits),
            )

        await exchange.run(_cutting_fine_tunes(send) if endpoint.of_models else send)

    def _refuse_own(self, request: ClientRequest) -> None:
        """Stop a request that we have sent ourselves, before it is held for a second time."""
        if self.hop and request.came_through(self.hop):
            logger.error("this server is its own upstream: OPENAI_BASE_URL leads back to it")
            msg = (
                "This server has become its own upstream; nothing was charged. The operator has to"
                " set OPENAI_BASE_URL to another one."
            )
            raise UpstreamLoop(msg)

    def _begin(self, caller: Caller, purpose: Purpose) -> Lease:
        try:
            return self.leases.begin(caller, purpose)
        except JournalUnavailable as error:
            raise ServiceUnavailable from error

    async def _admit(
        self,
        request: ClientRequest,
        lease: Lease,
        endpoint: Operation,
        document: Document,
        bound: Estimate,
    ) -> Admission:
        """Hold the bound by bytes where the account affords it many times over, else the count."""
        try:
            if is_ample(lease.caller.available, bound, lease.purpose.rates):
                # It may have been emptied since the key was checked.
                admission = await self.admissions.try_hold(lease, bound)
                if admission is not None:
                    return admission
            estimate = await counted(endpoint, document, bound, self.traits)
            admission = await self.admissions.try_hold(lease, estimate)
            if admission is not None:
                return admission
            async with request.cancelling_when_gone():
                return await self.admissions.wait_for_hold(lease, estimate)
        except BaseException as error:
            if lease.placing or lease.hold is not None:
                # It may have been committed although the answer to it was lost.
                self.settler.leave_tombstone_later(lease)
            else:
                self.leases.end(lease)
            if isinstance(error, UNAVAILABLE):
                raise _no_database(error) from error
            raise

    def _configured_upstream(self) -> Upstream:
        if self.upstream is None:
            msg = "No upstream key is configured here: the operator has to set OPENAI_API_KEY."
            raise UpstreamNotConfigured(msg)
        return self.upstream


def new_request_id() -> str:
    """Name a request: unique, and sorted by time, so that the books are written in one place."""
    milliseconds = time.time_ns() // 1_000_000
    return f"tb_{milliseconds:012x}{os.urandom(10).hex()}"


def _no_database(error: Exception) -> ServiceUnavailable:
    """Fail closed: without the database nothing is dispatched."""
    logger.warning("the database is unavailable: %s", type(error).__name__)
    return ServiceUnavailable()


def _cutting_fine_tunes(
    send: Callable[[], Awaitable[UpstreamResponse]],
) -> Callable[[], Awaitable[UpstreamResponse]]:
    async def send_and_cut() -> UpstreamResponse:
        response = await send()
        return await response.edited(without_fine_tunes)

    return send_and_cut


def _match(surface: Surface, request: ClientRequest) -> tuple[bytes, Operation]:
    """Find what is asked for, and the raw path by which the upstream knows it."""
    path = path_below_prefix(request.raw_path)
    if request.method == "GET" and request.asks_for_websocket and is_socket(path):
        msg = "WebSockets are not served here; send the request as a POST, and stream its answer."
        raise WebSocketNotSupported(msg)
    endpoint = surface.find(request.method, path, request.query)
    if endpoint.of_models:
        check_model_path(path)
    return path, endpoint


def _read(
    endpoint: Operation, request: ClientRequest, body: bytes, upstream: UpstreamTraits
) -> tuple[Document, Estimate]:
    if not endpoint.bodies:
        return {}, Estimate(0)
    request.require_json()
    return read_request(endpoint, body, upstream)


def _target(path: bytes, query: bytes) -> str:
    return (path + b"?" + query if query else path).decode("ascii")
