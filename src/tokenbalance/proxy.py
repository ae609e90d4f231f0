"""THE request: the stages in their order, and the closing rule for every way it can end.

    authenticate   bearer key -> caller                                    401
    match          method + raw path -> endpoint                           404 / 403
    estimate       document -> ceiling of what it may cost                 400
    hold           reserve the ceiling, or wait for it; committed before
                   anything is sent                                        402
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
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.database.journal import JournalUnavailable
from tokenbalance.editing import with_members
from tokenbalance.endpoints import find_endpoint
from tokenbalance.errors import (
    InsufficientQuota,
    ProxyError,
    ServiceUnavailable,
    UpstreamNotConfigured,
)
from tokenbalance.exchange import Exchange
from tokenbalance.model import OPENAI, Estimate, Metering, Purpose
from tokenbalance.reading import (
    counted,
    is_ample,
    model_of,
    path_below_prefix,
    rates_of,
    read_request,
)
from tokenbalance.stages import estimate as estimating
from tokenbalance.stages.relay import headers_for_upstream
from tokenbalance.wire import ClientAnswer, ClientGone, ClientRequest

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tokenbalance.database.connections import Pool
    from tokenbalance.ledger.leases import Lease, Leases
    from tokenbalance.ledger.rate_card import RateCard
    from tokenbalance.model import Caller, Document, Endpoint, Json, UpstreamTraits
    from tokenbalance.observe.metrics import Metrics
    from tokenbalance.stages.authenticate import Callers
    from tokenbalance.stages.hold import Admission, Admissions
    from tokenbalance.stages.settle import Settler
    from tokenbalance.upstream import Upstream

logger = logging.getLogger(__name__)


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
    rate_card: RateCard | None = None
    """None: every token is one credit."""
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
        except asyncio.CancelledError:
            # Nothing was sent yet: afterwards the exchange has its own answer to this.
            if not answer.started:
                stopping = ServiceUnavailable("This server is stopping")
                await answer.error(stopping, stopping.status)
        except ClientGone:
            logger.debug("client left before its request was complete: %s", request_id)
        except ProxyError as error:
            if answer.started:
                raise
            await answer.error(error, self._status_of(error))
        except Exception:
            if answer.started:
                raise
            logger.exception("a fault of ours: %s", request_id)
            fault = ProxyError("An internal error occurred; it has been logged.")
            await answer.error(fault, fault.status)
        finally:
            seconds = time.perf_counter() - began
            self.metrics.answered(request.method, request.raw_path, answer.status, seconds)
            logger.info(
                "%s %s %d",
                request.method,
                request.shown_path,
                answer.status,
                extra={
                    "request_id": request_id,
                    "milliseconds": round(seconds * 1000, 1),
                },
            )

    async def _serve(self, request: ClientRequest, answer: ClientAnswer, request_id: str) -> None:
        try:
            caller = await self.callers.authenticate(request.headers)
        except UNAVAILABLE as error:
            raise _no_database(error) from error
        path = path_below_prefix(request.raw_path)
        endpoint = find_endpoint(request.method, path)
        upstream = self._configured_upstream()
        body = await request.read_body()
        document, estimate = _read(endpoint, request, body, self.traits)

        edits = _usage_to_be_asked_for(endpoint, document)
        exchange = Exchange(
            request=request,
            answer=answer,
            settler=self.settler,
            hides_usage=bool(edits),
            count=estimating.UsageCounter(endpoint, document, self.traits),
            cancels=self.cancel_on_disconnect,
        )
        if endpoint.charged:
            rates = rates_of(self.rate_card, document)
            purpose = Purpose(request_id, endpoint.path, model_of(document), rates)
            lease = self._begin(caller, purpose)
            admission = await self._admit(request, lease, endpoint, document, estimate)
            exchange.lease, exchange.ceiling = lease, admission.ceiling
            answer.add_header(b"x-tokenbalance-hold", admission.hold.amount)
            edits |= admission.told
            if admission.output_cap is not None:
                answer.add_header(b"x-tokenbalance-output-cap", admission.output_cap)
            if admission.calls_cap is not None:
                answer.add_header(b"x-tokenbalance-tool-calls-cap", admission.calls_cap)
        await exchange.run(
            lambda: upstream.send(
                request.method,
                _target(path, request.query),
                headers_for_upstream(request.headers),
                with_members(body, document, edits),
            )
        )

    def _begin(self, caller: Caller, purpose: Purpose) -> Lease:
        try:
            return self.leases.begin(caller, purpose)
        except JournalUnavailable as error:
            raise ServiceUnavailable from error

    async def _admit(
        self,
        request: ClientRequest,
        lease: Lease,
        endpoint: Endpoint,
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
                self.settler.forestall_later(lease)
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

    def _status_of(self, error: ProxyError) -> int:
        return self.insufficient_status if isinstance(error, InsufficientQuota) else error.status


def new_request_id() -> str:
    """Name a request: unique, and sorted by time, so that the books are written in one place."""
    milliseconds = time.time_ns() // 1_000_000
    return f"tb_{milliseconds:012x}{os.urandom(10).hex()}"


def _no_database(error: Exception) -> ServiceUnavailable:
    """Fail closed: without the database nothing is dispatched."""
    logger.warning("the database is unavailable: %s", type(error).__name__)
    return ServiceUnavailable()


def _read(
    endpoint: Endpoint, request: ClientRequest, body: bytes, upstream: UpstreamTraits
) -> tuple[Document, Estimate]:
    if endpoint.method == "GET":
        return {}, Estimate(0)
    request.require_json()
    return read_request(endpoint, body, upstream)


def _usage_to_be_asked_for(endpoint: Endpoint, document: Document) -> dict[str, Json]:
    """Make chat and completion streams report their usage; the other endpoints always do."""
    if endpoint.metering not in {Metering.CHAT, Metering.COMPLETIONS} or not document.get("stream"):
        return {}
    options = document.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        return {}
    return {"stream_options": {"include_usage": True}}


def _target(path: bytes, query: bytes) -> str:
    return (path + b"?" + query if query else path).decode("ascii")
