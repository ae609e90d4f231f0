"""One exchange with the upstream over HTTP: dispatch a request, relay its response.

    no response                             voided    502 / 504
    a response outside 2xx                  voided    relayed, or reworded: `wording`
    2xx, usage reported                     settled with it before the last bytes leave
    2xx, a failure or nothing at all        voided    relayed: `openai.metering.outcome`
    2xx, no usage, broken off, cut off      settled with what was counted, flagged as estimated
    this process dies                       another one's sweep settles, voids or expires it

A client that leaves changes nothing: the response is read to its end anyway, unless the operator
chose to cancel, or the upstream of a stream is then silent for too long: `departure`. What is
charged is for the `Ending` to decide; this file reports what happened.

Words, one for each event, in the code, the log and the messages:

    dispatch    send a request upstream
    refuse      the upstream responds outside 2xx
    relay       pass bytes on
    settle      charge what was used
    void        give the hold back: nothing was used
    break off   the upstream ends its response early
    cut off     we end it early: this process is shutting down, or the client left and that cancels
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.books.holds.journal import JournalUnavailable
from tokenbalance.errors import ProxyError, ServiceUnavailable, UpstreamIncomplete
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.openai.operation import Answer
from tokenbalance.proxy.bytes import relay_bytes
from tokenbalance.proxy.departure import Departure
from tokenbalance.proxy.documents import relay_document
from tokenbalance.proxy.refusals import relay_refusal
from tokenbalance.proxy.streams import (
    end_early,
    is_event_stream,
    relay_declared_stream,
    relay_requested_stream,
)
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.client.request import ClientRequest
    from tokenbalance.wire.upstream import UpstreamResponse

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Exchange:
    """Sends one request and relays its response; its caller ends a hold that it leaves open."""

    request: ClientRequest
    relay: Relay
    cancels: bool
    """Cut the upstream off when the client has left, instead of reading on."""

    def run(self, send: Callable[[], Awaitable[UpstreamResponse]]) -> Awaitable[None]:
        """Dispatch the request and relay the response.

        Raises:
            ServiceUnavailable: the dispatch could not be written down, so nothing was sent.
            UpstreamUnavailable, UpstreamTimeout: no response came.
            UpstreamAuth, UpstreamQuota: the operator's key was refused, or their money is used up.
            ModelNotFound, NotAllowed: the request was refused in words that are not for callers.
            UpstreamIncomplete: the response broke off before any of it was relayed.
            ClientGone: the client has left, and the upstream was cut off.

        """
        return self._run_while_there(send) if self.cancels else self._run(send)

    async def _run_while_there(self, send: Callable[[], Awaitable[UpstreamResponse]]) -> None:
        async with self.request.cancelling_when_gone():
            await self._run(send)

    async def _run(self, send: Callable[[], Awaitable[UpstreamResponse]]) -> None:
        upstream = await self._dispatch(send)
        try:
            await self._relay(upstream)
        except ProxyError:
            raise
        except asyncio.CancelledError:
            await self._cut_off()
        except Exception as error:
            # A fault of ours after the response was paid for: no status that invites a retry.
            if self.relay.response.started:
                raise
            logger.exception("a response could not be relayed")
            raise await self.relay.charged(self.relay.broke_off()) from error
        finally:
            await upstream.close()

    async def _dispatch(self, send: Callable[[], Awaitable[UpstreamResponse]]) -> UpstreamResponse:
        ending = self.relay.ending
        try:
            ending.dispatch()
        except JournalUnavailable as error:
            raise ServiceUnavailable from error
        try:
            upstream = await send()
        except UpstreamBroke as error:
            ending.progress.error_code = UpstreamIncomplete.code
            raise await self.relay.charged(self.relay.broke_off()) from error
        except Exception as error:
            if isinstance(error, ProxyError):
                ending.progress.error_code = error.code
            await ending.void()
            raise
        except asyncio.CancelledError:
            # The upstream may be working on it already.
            raise await self.relay.charged(self.relay.cut_off()) from None
        ending.progress.responded(upstream)
        return upstream

    async def _cut_off(self) -> None:
        """Tell the client that the response ends here."""
        relay, meter = self.relay, self.relay.ending.meter
        if not relay.response.started:
            raise await relay.charged(relay.cut_off())
        if isinstance(meter, StreamMeter):
            await end_early(relay, meter, relay.cut_off())
        elif relay.asked.operation.answer is Answer.BYTES:
            _ = await relay.ending.settle()
            relay.response.break_off()

    async def _relay(self, upstream: UpstreamResponse) -> None:
        relay = self.relay
        ending = relay.ending
        if not 200 <= upstream.status < 300:  # noqa: PLR2004 - the class of status codes
            ending.refuse()
            await relay_refusal(relay, upstream)
            return
        operation = relay.asked.operation
        ending.readable = upstream.readable and not operation.has_fixed_ceiling
        if operation.answer is Answer.BYTES and not (
            operation.charged and is_event_stream(upstream.headers)
        ):
            await relay_bytes(relay, upstream)
        elif not ending.charged and operation.answer is not Answer.EVENTS:
            await relay_document(relay, upstream)
        elif is_event_stream(upstream.headers):
            await self._stream(relay_declared_stream, upstream)
        elif relay.asked.streams and upstream.readable:
            await self._stream(relay_requested_stream, upstream)
        else:
            await relay_document(relay, upstream)

    async def _stream(
        self,
        relay_stream: Callable[[Relay, UpstreamResponse], Awaitable[None]],
        upstream: UpstreamResponse,
    ) -> None:
        departure = Departure(self.request, upstream)
        try:
            await relay_stream(self.relay, upstream)
        finally:
            departure.end()
