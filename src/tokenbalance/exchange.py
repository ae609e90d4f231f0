"""One exchange with the upstream, and the rule by which its hold ends.

    no answer                               voided    502 / 504
    an answer outside 2xx                   voided    relayed as it came (401, 403: 502)
    2xx, usage reported                     settled with it before the last bytes leave
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
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.database.journal import JournalUnavailable
from tokenbalance.errors import (
    ProxyError,
    ServiceUnavailable,
    UpstreamAuth,
    UpstreamIncomplete,
    UpstreamUnavailable,
    error_document,
)
from tokenbalance.model import Usage
from tokenbalance.stages.meter import JsonMeter, StreamMeter
from tokenbalance.stages.relay import is_event_stream
from tokenbalance.upstream import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.ledger.leases import Lease
    from tokenbalance.model import Charge
    from tokenbalance.relayed_headers import PassingHeaders
    from tokenbalance.stages.settle import Settler
    from tokenbalance.upstream import UpstreamAnswer
    from tokenbalance.wire import ClientAnswer, ClientRequest

logger = logging.getLogger(__name__)

BUFFERED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Answers up to this size are kept until they are settled, so that the charge can be in the head;
of longer ones only the last chunk is."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Relays one request's answer and ends its hold, once."""

    request: ClientRequest
    answer: ClientAnswer
    settler: Settler
    passing: PassingHeaders
    count: Callable[[str], Usage]
    """Counts the usage of a request whose answer had this text, when none was reported."""
    hides_usage: bool
    """The client had not asked for the usage that a stream reports."""
    cancels: bool
    """Cancel the upstream when the client has left, instead of reading on."""
    ceiling: Usage = field(default_factory=Usage)
    """What the request may use at most: charged when nobody can tell what it did use."""
    lease: Lease | None = None
    """Of the open hold; None after it has ended, and where none is needed."""
    _meter: JsonMeter | StreamMeter = field(default_factory=JsonMeter)
    _readable: bool = True

    async def run(self, send: Callable[[], Awaitable[UpstreamAnswer]]) -> None:
        """Send the request, relay its answer, end the hold.

        Raises:
            ServiceUnavailable: what is sent could not be written down, so nothing was.
            UpstreamUnavailable, UpstreamTimeout: no answer came.
            UpstreamAuth: the operator's key was refused.
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
                if self.answer.started:
                    raise
                logger.exception("an answer could not be relayed")
                raise _broken_off(charged=True) from error
            finally:
                await self._settle()
                await upstream.close()

    async def _dispatch(self, send: Callable[[], Awaitable[UpstreamAnswer]]) -> UpstreamAnswer:
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
        if not self.answer.started:
            await self._settle()
            raise _cut_off(charged=charged)
        if isinstance(self._meter, StreamMeter):
            await self._end_broken(self._meter, _cut_off(charged=charged))

    async def _end_broken(self, meter: StreamMeter, error: ProxyError) -> None:
        """End a stream with what was whole of it, and an error unless that was all."""
        rest = meter.abandon()
        await self._settle()
        await self.answer.end(rest if meter.ended else rest + _event(error))

    async def _relay(self, upstream: UpstreamAnswer) -> None:
        if upstream.status in {401, 403}:
            await self._void()
            msg = "The upstream refused the operator's key; nothing was charged."
            raise UpstreamAuth(msg)
        if not 200 <= upstream.status < 300:  # noqa: PLR2004 - the class of status codes
            await self._void()
        self._readable = upstream.readable
        if self.lease is not None and is_event_stream(upstream.headers):
            await self._relay_stream(upstream)
        else:
            await self._relay_document(upstream)

    async def _relay_stream(self, upstream: UpstreamAnswer) -> None:
        """Pass events on as they arrive; those that end the stream wait for the charge."""
        self._meter = meter = StreamMeter(hide_usage=self.hides_usage)
        await self.answer.start(upstream.status, self.passing.for_client(upstream.headers))
        usage: Usage | None = None
        try:
            while chunk := await upstream.read():
                passing = meter.feed(chunk)
                if meter.ended:
                    passing += await self._at_the_end(meter)
                elif meter.usage is not usage:
                    usage = meter.usage
                    self._note(usage)
                if passing:
                    await self.answer.write(passing)
        except UpstreamBroke:
            await self._end_broken(meter, _broken_off(charged=True))
            return
        rest = meter.finish()
        await self._settle()
        await self.answer.end(rest)

    async def _at_the_end(self, meter: StreamMeter) -> bytes:
        """Charge what the terminal event ends, before it is passed on."""
        if meter.failed and meter.usage is None:
            # Nobody knows yet what it used: nothing, if really nothing follows.
            return meter.release()
        await self._settle()
        return meter.take()

    async def _relay_document(self, upstream: UpstreamAnswer) -> None:
        """Keep the document until its charge is known; pass one on that is too large to keep."""
        meter = JsonMeter()
        self._meter = meter
        charged = self.lease is not None
        headers = self.passing.for_client(upstream.headers)
        kept = bytearray()
        try:
            while chunk := await upstream.read():
                if charged:
                    meter.feed(chunk)
                if len(kept) + len(chunk) > BUFFERED_BYTES_MAX or self.answer.started:
                    if not self.answer.started:
                        await self.answer.start(upstream.status, headers)
                    await self.answer.write(bytes(kept))
                    kept.clear()
                kept += chunk
        except UpstreamBroke as error:
            raise _broken_off(charged=charged) from error
        charge = await self._settle()
        if self.answer.started:
            await self.answer.end(bytes(kept))
            return
        if charge is not None:
            self.answer.add_header(b"x-tokenbalance-charge", charge.amount)
            self.answer.add_header(b"x-tokenbalance-balance", charge.balance)
        await self.answer.whole(upstream.status, headers, bytes(kept))

    async def _settle(self) -> Charge | None:
        """End the hold, if it is still open, with the usage that the meter has read."""
        lease, self.lease = self.lease, None
        if lease is None or lease.hold is None:
            return None
        hold, meter = lease.hold, self._meter
        if isinstance(meter, JsonMeter):
            meter.finish()
        elif _used_nothing(meter):
            await self.settler.void(lease, hold)
            return None
        return await self.settler.settle(lease, hold, meter.usage, self._counted, self.ceiling)

    def _counted(self) -> Usage:
        if not self._readable:
            return self.ceiling
        return self.count(self._meter.relayed_text())

    def _look(self) -> Callable[[], Usage]:
        """Take what has been seen so far, to be counted elsewhere."""
        usage, text = self._meter.usage, self._meter.relayed_text()
        return lambda: usage or self.count(text)

    def _note(self, usage: Usage | None) -> None:
        """Write usage down that was seen while the stream goes on, lest it die with the process."""
        if self.lease is not None and usage is not None:
            # The books are told at the end all the same.
            with suppress(JournalUnavailable):
                self.lease.slot.use(usage)

    async def _void(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None and lease.hold is not None:
            await self.settler.void(lease, lease.hold)


def _used_nothing(meter: StreamMeter) -> bool:
    return meter.failed and meter.usage is None and not meter.relayed_text()


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
