"""One exchange with the upstream, and the rule by which its hold ends.

    no answer                               voided    502 / 504
    an answer outside 2xx                   voided    relayed as it came, but for what is about the
                                                      operator's things (`stages.reason`)
    2xx, usage reported                     settled with it before the last bytes leave
    2xx, a failure or nothing at all        voided    relayed as it came: `outcome`
    2xx, no usage, broken off, client gone  settled with what was counted, flagged as estimated
    cancelled after it was dispatched       settled with what was seen so far, flagged
    the process dies                        the sweep of another one settles, voids or expires it

There is no other way out of `run`. A client that leaves changes nothing: what it would have been
sent is read to its end all the same, unless the operator chose to cancel.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.books.holds.journal import JournalUnavailable
from tokenbalance.errors import (
    ProxyError,
    ServiceUnavailable,
    UpstreamAuth,
    UpstreamIncomplete,
    UpstreamQuota,
    UpstreamUnavailable,
    error_document,
)
from tokenbalance.model import Usage
from tokenbalance.openai.failure import (
    ERROR_BYTES_MAX,
    document_in_our_words,
    events_in_our_words,
    judge,
    without_operators_names,
)
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.doubt import has_several_choices, is_doubtful, reckoned
from tokenbalance.openai.metering.outcome import used_nothing
from tokenbalance.openai.metering.sse import begins_events
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.proxy.headers import is_event_stream
from tokenbalance.telemetry.alarms import Alarms
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.books.holds.leases import Lease
    from tokenbalance.books.holds.settler import Settler
    from tokenbalance.model import Charge
    from tokenbalance.openai.estimate import UsageCounter
    from tokenbalance.openai.failure import Reworded, Verdict
    from tokenbalance.wire.client.request import ClientRequest, ClientResponse
    from tokenbalance.wire.passing_headers import PassingHeaders
    from tokenbalance.wire.upstream import UpstreamResponse

logger = logging.getLogger(__name__)

BUFFERED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Answers up to this size are kept until they are settled, so that the charge can be in the head;
of longer ones only the last chunk is."""
_BEGINNING_BYTES_MAX: Final = 4096
"""So many blank bytes may come before it shows what an answer is."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Relays one request's answer and ends its hold, once."""

    request: ClientRequest
    response: ClientResponse
    settler: Settler
    passing: PassingHeaders
    count: UsageCounter
    """Counts the usage of this request, when none was reported, or not all of it."""
    streams: bool = False
    """The client asked for a stream."""
    hides_usage: bool
    """The client had not asked for the usage that a stream reports."""
    cancels: bool
    """Cancel the upstream when the client has left, instead of reading on."""
    model: str | None = None
    """What the request names, where it does."""
    alarms: Alarms = field(default_factory=Alarms)
    """What only the operator can mend is told here."""
    ceiling: Usage = field(default_factory=Usage)
    """What the request may use at most: charged when nobody can tell what it did use."""
    lease: Lease | None = None
    """Of the open hold; None after it has ended, and where none is needed."""
    _meter: JsonMeter | StreamMeter = field(default_factory=JsonMeter)
    _readable: bool = True
    _whole: bool = False
    """The answer came to its end."""

    async def run(self, send: Callable[[], Awaitable[UpstreamResponse]]) -> None:
        """Send the request, relay its answer, end the hold.

        Raises:
            ServiceUnavailable: what is sent could not be written down, so nothing was.
            UpstreamUnavailable, UpstreamTimeout: no answer came.
            UpstreamAuth, UpstreamQuota: the operator's key was refused, or their money is out.
            ModelNotFound, NotAllowed: so it was said, in words that were not for the caller.
            UpstreamIncomplete: the answer broke off before anything of it was sent on.
            ClientGone: it has left, and the upstream was cancelled.

        """
        async with self.request.cancelling_when_gone() if self.cancels else nullcontext():
            upstream = await self._dispatch(send)
            try:
                await self._relay(upstream)
            except ProxyError:
                raise
            except asyncio.CancelledError:
                await self._end_cut_off()
            except Exception as error:
                # A fault of ours after the answer was bought: no status that would buy it again.
                if self.response.started:
                    raise
                logger.exception("an answer could not be relayed")
                raise _broken_off(charged=True) from error
            finally:
                await self._settle()
                await upstream.close()

    async def _dispatch(self, send: Callable[[], Awaitable[UpstreamResponse]]) -> UpstreamResponse:
        try:
            if self.lease is not None:
                self.lease.slot.dispatch()
                self.lease.look = self._look
            return await send()
        except JournalUnavailable as error:
            await self._void()
            raise ServiceUnavailable from error
        except UpstreamBroke as error:
            charged = self.lease is not None
            await self._settle()
            raise _broken_off(charged=charged) from error
        except Exception:
            await self._void()
            raise
        except asyncio.CancelledError:
            # It may be at work upstream already.
            charged = self.lease is not None
            await self._settle()
            raise _cut_off(charged=charged) from None

    async def _end_cut_off(self) -> None:
        """Say that the answer ends here: this process is stopping, or the client has left."""
        charged = self.lease is not None
        if not self.response.started:
            await self._settle()
            raise _cut_off(charged=charged)
        if isinstance(self._meter, StreamMeter):
            await self._end_broken(self._meter, _cut_off(charged=charged))

    async def _end_broken(self, meter: StreamMeter, error: ProxyError) -> None:
        """End a stream with what was whole of it, and an error unless that was all."""
        rest = meter.abandon()
        await self._settle()
        rest = self._failure(meter, rest)
        await self.response.end(rest if meter.ended else rest + _event(error))

    async def _relay(self, upstream: UpstreamResponse) -> None:
        if not 200 <= upstream.status < 300:  # noqa: PLR2004 - the class of status codes
            await self._void()
            await self._relay_refusal(upstream)
            return
        self._readable = upstream.readable
        if self.lease is None:
            await self._relay_document(upstream)
        elif is_event_stream(upstream.headers):
            await self._relay_declared_stream(upstream)
        elif self.streams and upstream.readable:
            await self._relay_asked_stream(upstream)
        else:
            await self._relay_document(upstream)

    async def _relay_refusal(self, upstream: UpstreamResponse) -> None:
        """Pass it on as it came, or say in our words what is not the request's fault."""
        kept, ended = bytearray(), False
        try:
            while not ended and len(kept) <= ERROR_BYTES_MAX:
                chunk = await upstream.read()
                kept += chunk
                ended = not chunk
        except UpstreamBroke as error:
            self._refuse_as_judged(upstream.status, bytes(kept))
            raise _broken_off(charged=False) from error
        self._refuse_as_judged(upstream.status, bytes(kept))
        headers = self.passing.for_client(upstream.headers)
        if ended:
            body = without_operators_names(bytes(kept))
            await self.response.whole(upstream.status, headers, body)
            return
        await self.response.start(upstream.status, headers)
        await self.response.write(bytes(kept))
        try:
            while chunk := await upstream.read():
                await self.response.write(chunk)
        except UpstreamBroke as error:
            raise _broken_off(charged=False) from error
        await self.response.end()

    def _refuse_as_judged(self, status: int, body: bytes) -> None:
        verdict = judge(status, body, self.model)
        if verdict is not None:
            self._alarm(status, verdict)
            raise verdict.error

    def _alarm(self, status: int, verdict: Verdict) -> None:
        error = verdict.error
        if isinstance(error, UpstreamAuth | UpstreamQuota):
            said = f"{status} {verdict.code}".rstrip()
            self.alarms.sound(error.code, f"{error.code}: the upstream said {said}")

    def _told(self, reworded: Reworded | None, status: int, as_it_came: bytes) -> bytes:
        """What a caller gets of an error inside a 2xx."""
        if reworded is None:
            return as_it_came
        self._alarm(status, reworded.verdict)
        return reworded.body

    async def _relay_declared_stream(self, upstream: UpstreamResponse) -> None:
        """Relay what is said to be a stream, though it may turn out to be a document."""
        self._meter = meter = self._stream_meter()
        await self.response.start(upstream.status, self.passing.for_client(upstream.headers))
        try:
            beginning = await upstream.read()
            while beginning.isspace():
                await self.response.write(beginning)
                beginning = await upstream.read()
        except UpstreamBroke:
            await self._end_broken(meter, _broken_off(charged=True))
            return
        if beginning.lstrip().startswith(b"{"):
            await self._relay_document(upstream, beginning)
        else:
            await self._relay_events(upstream, meter, beginning)

    async def _relay_asked_stream(self, upstream: UpstreamResponse) -> None:
        """Relay what should have been a stream; its beginning tells whether it is one."""
        beginning = b""
        try:
            while (is_stream := begins_events(beginning)) is None:
                chunk = await upstream.read()
                beginning += chunk
                if not chunk or len(beginning) > _BEGINNING_BYTES_MAX:
                    is_stream = begins_events(beginning)
                    break
        except UpstreamBroke as error:
            raise _broken_off(charged=True) from error
        if is_stream:
            self._meter = meter = self._stream_meter()
            await self.response.start(upstream.status, self.passing.for_client(upstream.headers))
            await self._relay_events(upstream, meter, beginning)
        else:
            await self._relay_document(upstream, beginning)

    def _stream_meter(self) -> StreamMeter:
        several = has_several_choices(self.count.document)
        return StreamMeter(hide_usage=self.hides_usage, several=several)

    async def _relay_events(
        self, upstream: UpstreamResponse, meter: StreamMeter, beginning: bytes
    ) -> None:
        """Pass events on as they arrive; those that end the stream wait for the charge."""
        usage: Usage | None = None
        chunk = beginning
        try:
            while chunk:
                passing = meter.feed(chunk)
                if meter.ended:
                    passing += self._failure(meter, await self._at_the_end(meter))
                elif meter.usage is not usage:
                    usage = meter.usage
                    _note(self.lease, usage)
                if passing:
                    await self.response.write(passing)
                chunk = await upstream.read()
        except UpstreamBroke:
            await self._end_broken(meter, _broken_off(charged=True))
            return
        rest = self._failure(meter, meter.finish())
        self._whole = True
        await self._settle()
        await self.response.end(rest)

    def _failure(self, meter: StreamMeter, events: bytes) -> bytes:
        """The events that end a stream, with what fails it in our words where that must be."""
        if not meter.failed:
            return events
        return self._told(events_in_our_words(events, self.model), HTTPStatus.OK, events)

    async def _at_the_end(self, meter: StreamMeter) -> bytes:
        """Charge what the terminal event ends, before it is passed on."""
        if meter.failed and meter.usage is None:
            # Nobody knows yet what it used: nothing, if really nothing follows.
            return meter.release()
        await self._settle()
        return meter.take()

    async def _relay_document(self, upstream: UpstreamResponse, beginning: bytes = b"") -> None:
        """Keep the document until its charge is known; pass one on that is too large to keep."""
        meter = JsonMeter()
        self._meter = meter
        charged = self.lease is not None
        headers = self.passing.for_client(upstream.headers)
        kept = bytearray()
        chunk = beginning
        try:
            while chunk := chunk or await upstream.read():
                if charged:
                    meter.feed(chunk)
                if len(kept) + len(chunk) > BUFFERED_BYTES_MAX or self.response.started:
                    if not self.response.started:
                        await self.response.start(upstream.status, headers)
                    await self.response.write(bytes(kept))
                    kept.clear()
                kept += chunk
                chunk = b""
        except UpstreamBroke as error:
            raise _broken_off(charged=charged) from error
        self._whole = True
        charge = await self._settle()
        if self.response.started:
            await self.response.end(bytes(kept))
            return
        if charge is not None:
            self.response.add_header(b"x-tokenbalance-charge", charge.amount)
            self.response.add_header(b"x-tokenbalance-balance", charge.balance)
        body = bytes(kept)
        body = self._told(document_in_our_words(body, self.model), upstream.status, body)
        await self.response.whole(upstream.status, headers, body)

    async def _settle(self) -> Charge | None:
        """End the hold, if it is still open, with the usage that the meter has read."""
        lease, self.lease = self.lease, None
        if lease is None or lease.hold is None:
            return None
        hold, meter = lease.hold, self._meter
        if isinstance(meter, JsonMeter):
            meter.finish()
        if self._readable and used_nothing(meter, ended=self._whole or _has_ended(meter)):
            await self.settler.void(lease, hold)
            return None
        usage = meter.usage
        if usage is not None and is_doubtful(usage, self.count.endpoint, self.count.document):
            _note(lease, usage)
            usage = None
        return await self.settler.settle(lease, hold, usage, self._reckoned, self.ceiling)

    def _reckoned(self) -> Usage:
        return self._look()() if self._readable else self.ceiling

    def _look(self) -> Callable[[], Usage]:
        """Take what has been seen so far, to be counted elsewhere."""
        usage, texts = self._meter.usage, self._meter.relayed_texts()
        return lambda: reckoned(usage, texts, self.count, self.ceiling)

    async def _void(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None and lease.hold is not None:
            await self.settler.void(lease, lease.hold)


def _note(lease: Lease | None, usage: Usage | None) -> None:
    """Write usage down that is not settled yet, lest it die with the process."""
    if lease is not None and usage is not None:
        # The books are told at the end all the same.
        with suppress(JournalUnavailable):
            lease.slot.use(usage)


def _has_ended(meter: JsonMeter | StreamMeter) -> bool:
    return isinstance(meter, StreamMeter) and meter.ended


def _broken_off(*, charged: bool) -> UpstreamIncomplete | UpstreamUnavailable:
    if charged:
        return UpstreamIncomplete(
            "The upstream broke off its answer. What had arrived was charged; trying again would"
            " buy it again."
        )
    return UpstreamUnavailable("The upstream broke off its answer; nothing was charged.")


def _cut_off(*, charged: bool) -> UpstreamIncomplete | ServiceUnavailable:
    if charged:
        return UpstreamIncomplete(
            "This server is stopping and the answer was cut off. What is known of it was charged;"
            " trying again would buy it again."
        )
    return ServiceUnavailable("This server is stopping")


def _event(error: ProxyError) -> bytes:
    return b"data: " + orjson.dumps(error_document(error)) + b"\n\n"
