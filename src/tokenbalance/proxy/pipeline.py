"""THE request: its stages, in their order.

    preflight      a browser asks what it may send                         204
    authenticate   bearer key -> caller, who may send requests             401 / 403
                   of the last minute: by the hold, or before a refusal
                   a limited key: by its rules, as far as the request is    403
                   known, after each of these stages and of the next
    match          method + raw path -> operation                          404 / 403
    afford         not a credit left: refused before the body is read      402
                   what costs nothing has a rate instead                   429
    enter          how many requests of the account are in progress        429
    read           body -> document, and the ceiling of what it may cost   400
    own            the objects that it names are the caller's              404
                   a turn of those that add to the same conversation     429
                   what the model reads of them: known, or asked upstream
                   a body that is too slow, or that there is no room for   408 / 429 / 503
    list           of the caller's objects: from the table, and that is all
    hold           reserve the ceiling, or wait for it; committed before
                   anything is sent                                        402 / 429
                   a key that has ended in the meantime                    401
    exchange       the same bytes there, the same bytes back, metered;
                   settled before the client sees the end

The closing rule: a hold is voided when the upstream did not accept the request, and settled
otherwise, whatever happens to the client, the upstream or this task. `Ending` keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from tokenbalance.books.holds.journal import JournalUnavailable
from tokenbalance.database.connections import UNAVAILABLE
from tokenbalance.errors import (
    MissingScope,
    ProxyError,
    ServiceUnavailable,
    UpstreamLoop,
    UpstreamNotConfigured,
)
from tokenbalance.offload import offload
from tokenbalance.openai import SURFACE
from tokenbalance.openai.editing import with_members
from tokenbalance.openai.objects.listing import read_query
from tokenbalance.openai.operation import Answer
from tokenbalance.openai.query import NO_QUERY, query_of
from tokenbalance.people.access import require_inference
from tokenbalance.people.callers import EndedKey, RefusedKey
from tokenbalance.people.refused_keys import note_missing_scope, note_refused_key
from tokenbalance.proxy.asked import READ_INLINE_BYTES_MAX, Asked, match
from tokenbalance.proxy.bearers import no_database
from tokenbalance.proxy.ending import Ending
from tokenbalance.proxy.exchange import Exchange
from tokenbalance.proxy.free_rate import FreeRate
from tokenbalance.proxy.limits.end_users import without_name
from tokenbalance.proxy.model_lists import ModelLists
from tokenbalance.proxy.object_lists import Descriptions, ObjectList
from tokenbalance.proxy.ownership import edits_of_store, names_object
from tokenbalance.proxy.relay import Relay
from tokenbalance.proxy.room import Place, Room
from tokenbalance.proxy.turns import Turns, conversation_of
from tokenbalance.proxy.wording import Wording
from tokenbalance.telemetry.alarms import Alarms
from tokenbalance.telemetry.request_log import RequestLog
from tokenbalance.wire.client.cors import CrossOrigin, is_preflight
from tokenbalance.wire.client.request import (
    ClientGone,
    ClientRequest,
)
from tokenbalance.wire.client.response import AsgiResponse, ClientResponse, DirectResponse
from tokenbalance.wire.passing_headers import PassingHeaders

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Receive, Scope, Send

    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.books.holds.settler import Settler
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller
    from tokenbalance.openai import Surface
    from tokenbalance.openai.operation import Operation
    from tokenbalance.people.refusals import RefusalCounts
    from tokenbalance.people.remembered import Bearer
    from tokenbalance.proxy.admission import Admissions
    from tokenbalance.proxy.bearers import Bearers
    from tokenbalance.proxy.holding import Holding
    from tokenbalance.proxy.limits.gate import Gate
    from tokenbalance.proxy.ownership import Ownership
    from tokenbalance.proxy.progress import Progress
    from tokenbalance.proxy.reading import Reading
    from tokenbalance.proxy.stored import StoredContext
    from tokenbalance.telemetry.metrics import Metrics
    from tokenbalance.wire.server.direct import DirectTurn
    from tokenbalance.wire.upstream import Outgoing, Upstream, UpstreamResponse

logger = logging.getLogger(__name__)
request_log = RequestLog(logger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What responds to every request below `/v1`."""

    pool: Pool
    bearers: Bearers
    reading: Reading
    leases: Leases
    admissions: Admissions
    settler: Settler
    metrics: Metrics
    upstream: Upstream | None
    """None when the operator has not configured a key."""
    surface: Surface = SURFACE
    """The operations that are open."""
    cancel_on_disconnect: bool = False
    wording: Wording = field(default_factory=lambda: Wording(Alarms()))
    own_headers: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of every response."""
    passing: PassingHeaders = field(default_factory=PassingHeaders)
    cross_origin: CrossOrigin = field(default_factory=CrossOrigin)
    room: Room = field(default_factory=Room)
    """What requests may occupy in this process."""
    ownership: Ownership
    """Whose the objects are that requests and responses name."""
    stored: StoredContext
    """How much of them the model reads."""
    turns: Turns
    """Who adds to a conversation."""
    gate: Gate
    """What limited keys may ask for."""
    holding: Holding
    """Where holds are placed."""
    refused: RefusalCounts
    """Where requests are counted that were refused."""
    free_rate: FreeRate = field(default_factory=FreeRate)
    """How often an account may ask for what costs nothing."""
    models: ModelLists = field(default_factory=ModelLists)
    """What callers see of the upstream's models."""
    hop: bytes = b""
    """What requests that are sent upstream are marked with; empty: nothing."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Respond to a request that comes through ASGI."""
        return self.respond(ClientRequest.of_asgi(scope, receive), AsgiResponse(send))

    def direct(self, turn: DirectTurn) -> Awaitable[None]:
        """Respond to a request that our own server hands over directly."""
        request = ClientRequest(turn.method, turn.raw_path, turn.query, turn.headers, turn)
        return self.respond(request, DirectResponse(turn))

    async def respond(self, request: ClientRequest, response: ClientResponse) -> None:
        """Respond to one request; every error of ours is rendered here."""
        request_id = new_request_id()
        began = time.perf_counter()
        bearer: Bearer | None = None
        self._add_headers(request, response, request_id)
        try:
            if is_preflight(request.method, request.headers):
                headers = self.cross_origin.preflight(request.headers)
                await response.whole(HTTPStatus.NO_CONTENT, headers, b"")
            else:
                self._refuse_own(request)
                bearer = await self.bearers.authenticate(request)
                try:
                    await self._serve(request, response, bearer, request_id, began)
                except ProxyError:
                    await self._judge(request, bearer)
                    raise
        except asyncio.CancelledError:
            # Before the dispatch; the exchange cuts off its own response.
            if not response.started:
                stopping = ServiceUnavailable("This server is shutting down")
                await response.error(stopping, stopping.status)
        except ClientGone:
            logger.debug("client left before its request was complete: %s", request_id)
        except ProxyError as error:
            if response.started:
                raise
            caller = bearer and bearer.caller
            self.refused.count(caller, error)
            await self._note(error, caller, request)
            await response.error(error, error.status)
        except Exception:
            if response.started:
                raise
            logger.exception("internal error: %s", request_id)
            fault = ProxyError("An internal error occurred; it has been logged.")
            await response.error(fault, fault.status)
        finally:
            seconds = time.perf_counter() - began
            self.metrics.responded(request.method, request.raw_path, response.status, seconds)
            request_log.responded(
                request.method, request.shown_path, response.status, request_id, seconds
            )

    def _add_headers(
        self, request: ClientRequest, response: ClientResponse, request_id: str
    ) -> None:
        """Add the headers of whatever the response is."""
        response.add_headers(self.own_headers)
        response.add_header(b"x-tokenbalance-request-id", request_id.encode())
        if self.cross_origin.is_open:
            response.add_headers(self.cross_origin.headers_for(request.headers))

    async def _note(self, error: ProxyError, caller: Caller | None, request: ClientRequest) -> None:
        """Write into the security log that a key was refused, or is not for this."""
        if isinstance(error, (RefusedKey, EndedKey)):
            await note_refused_key(self.pool, error, await request.address())
        elif isinstance(error, MissingScope):
            note_missing_scope(caller, await request.address())

    async def _serve(
        self,
        request: ClientRequest,
        response: ClientResponse,
        bearer: Bearer,
        request_id: str,
        began: float,
    ) -> None:
        path, operation, upstream = self._enter(request, bearer)
        query = query_of(operation, request.query) if request.query else NO_QUERY
        if not operation.charged:
            await self._admit_free(bearer, path, operation)
        if bearer.caller.policy is not None:
            await self.gate.judge(request, bearer, operation)
        with self.room.enter(bearer.caller.account_id) as place:
            asked = await self.reading.read(request, bearer, operation, place)
            asked = asked.with_query(query)
            if bearer.caller.policy is not None:
                asked = await self.gate.judge_asked(request, bearer, asked)
            if asked.references or (operation.uses and names_object(operation, path)):
                asked = await self._own(request, asked, path, place)
                asked = await self.stored.find(request, bearer, asked)
            if operation.lists_owned:
                await self._list(request, response, asked, upstream)
                return
            ending = self._begin(asked, request_id, began)
            try:
                edits = operation.usage_request(asked.document)
                relay = Relay(
                    asked,
                    ending,
                    response,
                    self.passing,
                    self.wording,
                    bool(edits),
                    self.ownership,
                )
                edits |= edits_of_store(asked)
                if ending.is_open:
                    edits |= relay.admitted(await self.holding.hold(request, ending, bearer))
                    place.pay()
                body = asked.outgoing
                # A form goes as it came: its ceiling has no fields that limit the upstream.
                if edits and isinstance(body, bytes) and asked.form is None:
                    if len(body) > READ_INLINE_BYTES_MAX:
                        body = await offload(with_members, body, asked.document, edits)
                    else:
                        body = with_members(body, asked.document, edits)
                target = operation.target(path, query.encoded)
                await self._exchange(request, relay, upstream, target, body)
            finally:
                if ending.is_open:
                    await ending.cut()
                self._measure(operation, ending.progress)

    def _exchange(
        self, request: ClientRequest, relay: Relay, upstream: Upstream, target: str, body: Outgoing
    ) -> Awaitable[None]:
        """Send a request upstream, and relay its response."""
        asked = relay.asked
        operation, caller = asked.operation, asked.caller
        in_part = operation.answer is Answer.BYTES and operation.method == "GET"
        headers = self.passing.for_upstream(request.headers, asked.content_type, in_part=in_part)
        if caller.policy is not None:
            headers = without_name(caller.policy, headers)
        method = request.method if in_part else operation.method

        def send() -> Awaitable[UpstreamResponse]:
            return upstream.send(method, target, headers, body, caller.account_id)

        # Nobody needs the rest of a file that its client has left.
        exchange = Exchange(request, relay, self.cancel_on_disconnect or in_part)
        if operation.of_models:
            hides = self.gate.hides_model(caller)
            sending = self.models.sending(target, headers, send, relay.response, hides)
            return exchange.run(sending)
        return exchange.run(self.ownership.sending(asked, send))

    def _measure(self, operation: Operation, progress: Progress) -> None:
        if progress.streams and progress.first_byte_s is not None:
            self.metrics.answered(operation.path, progress.first_byte_s)

    def _enter(self, request: ClientRequest, bearer: Bearer) -> tuple[bytes, Operation, Upstream]:
        """Find what is asked for; refuse who may not, or cannot pay for anything."""
        if not bearer.is_remembered:
            require_inference(bearer.caller)
        path, operation = match(
            self.surface,
            request.method,
            request.raw_path,
            request.query,
            websocket=request.asks_for_websocket,
        )
        if self.upstream is None:
            msg = "No upstream API key is configured here. The operator must set OPENAI_API_KEY."
            raise UpstreamNotConfigured(msg)
        if operation.charged:
            if not bearer.is_remembered:
                self.admissions.refuse_empty(bearer.caller)
            if bearer.caller.policy is not None:
                self.gate.refuse_storm(request, bearer)
        return path, operation, self.upstream

    async def _admit_free(self, bearer: Bearer, path: bytes, operation: Operation) -> None:
        """Refuse who asks too often for what costs nothing, or for a model that is not shown."""
        if bearer.is_remembered:
            await self.bearers.look_up(bearer)
        self.free_rate.take(bearer.caller.account_id)
        if operation.of_models:
            self.models.check(path)

    async def _judge(self, request: ClientRequest, bearer: Bearer) -> None:
        """Raise what comes before an error, by a look-up if there was none for the request."""
        if bearer.is_remembered:
            await self.bearers.look_up(bearer)
            await self.gate.judge(request, bearer)
            _, operation, _ = self._enter(request, bearer)
            await self.gate.judge(request, bearer, operation)
        else:
            await self.gate.judge(request, bearer)

    def _refuse_own(self, request: ClientRequest) -> None:
        """Refuse a request that this server has sent itself, before it is held a second time."""
        if self.hop and request.came_through(self.hop):
            logger.error("this server is its own upstream: OPENAI_BASE_URL leads back to it")
            msg = (
                "This server is configured as its own upstream; nothing was charged. The operator"
                " must set OPENAI_BASE_URL to another server."
            )
            raise UpstreamLoop(msg)

    async def _own(self, request: ClientRequest, asked: Asked, path: bytes, place: Place) -> Asked:
        """Look its objects up, and wait until nobody else adds to its conversation."""
        try:
            asked = await self.ownership.check(asked, path)
            conversation = conversation_of(asked)
            if conversation is not None:
                async with request.cancelling_when_gone():
                    await self.turns.take(asked, conversation, place)
        except UNAVAILABLE as error:
            raise no_database(error) from error
        return asked

    async def _list(
        self, request: ClientRequest, response: ClientResponse, asked: Asked, upstream: Upstream
    ) -> None:
        """Respond with a list of the caller's objects, in place of an exchange."""
        account_id = asked.caller.account_id
        headers = self.passing.for_upstream(request.headers)
        descriptions = Descriptions(upstream, self.surface, headers, account_id, self.free_rate)
        query = read_query(asked.operation.lists or "", asked.query.parameters)
        listed = ObjectList(request, self.ownership.owners, descriptions, account_id, query)
        try:
            body = await listed.page()
        except UNAVAILABLE as error:
            raise no_database(error) from error
        await response.whole(HTTPStatus.OK, [(b"content-type", b"application/json")], body)

    def _begin(self, asked: Asked, request_id: str, began: float) -> Ending:
        try:
            ending = Ending.begin(asked, request_id, self.leases, self.settler, began)
        except JournalUnavailable as error:
            raise ServiceUnavailable from error
        ending.owners = self.ownership.owners
        return ending


def new_request_id() -> str:
    """A unique name, sorted by time so that new rows lie together in an index."""
    milliseconds = time.time_ns() // 1_000_000
    return f"tb_{milliseconds:012x}{os.urandom(10).hex()}"
