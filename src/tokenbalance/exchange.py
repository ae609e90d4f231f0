"""One exchange with the upstream, and the rule by which its hold ends.

    no answer                               voided    502 / 504
    an answer outside 2xx                   voided    relayed as it came (401, 403: 502)
    2xx, usage reported                     settled with it before the last bytes leave
    2xx, no usage, broken off, client gone  settled with what was counted, flagged as estimated
    cancelled after it was dispatched       settled with what was seen so far, flagged

There is no other way out of `run`. A client that leaves changes nothing: what it would have been
sent is read to its end all the same, unless the operator chose to cancel.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.errors import (
    ProxyError,
    UpstreamAuth,
    UpstreamIncomplete,
    UpstreamUnavailable,
    error_document,
)
from tokenbalance.model import Usage
from tokenbalance.stages.meter import JsonMeter, StreamMeter
from tokenbalance.stages.relay import headers_for_client, is_event_stream
from tokenbalance.upstream import UpstreamBroke

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tokenbalance.model import Charge, Hold
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
    count: Callable[[str], Usage]
    """Counts the usage of a request whose answer had this text, when none was reported."""
    hides_usage: bool
    """The client had not asked for the usage that a stream reports."""
    cancels: bool
    """Cancel the upstream when the client has left, instead of reading on."""
    hold: Hold | None = None
    """The open hold; None before it is placed, after it has ended, and where none is needed."""
    _meter: JsonMeter | StreamMeter = field(default_factory=JsonMeter)
    _readable: bool = True

    async def run(self, sending: Awaitable[UpstreamAnswer]) -> None:
        """Wait for the upstream's answer, relay it, end the hold.

        Raises:
            UpstreamUnavailable, UpstreamTimeout: no answer came.
            UpstreamAuth: the operator's key was refused.
            UpstreamIncomplete: the answer broke off before anything of it was sent on.

        """
        async with self._watching_the_client():
            try:
                upstream = await sending
            except Exception:
                await self._void()
                raise
            except asyncio.CancelledError:
                await self._settle()
                raise
            try:
                await self._relay(upstream)
            except ProxyError:
                raise
            except Exception as error:
                # A fault of ours after the answer was bought: no status that would buy it again.
                if self.answer.started:
                    raise
                logger.exception("an answer could not be relayed")
                raise _broken_off(charged=True) from error
            finally:
                await self._settle()
                await upstream.close()

    async def _relay(self, upstream: UpstreamAnswer) -> None:
        if upstream.status in {401, 403}:
            await self._void()
            msg = "The upstream refused the operator's key; nothing was charged."
            raise UpstreamAuth(msg)
        if not 200 <= upstream.status < 300:  # noqa: PLR2004 - the class of status codes
            await self._void()
        self._readable = upstream.readable
        if self.hold is not None and is_event_stream(upstream.headers):
            await self._relay_stream(upstream)
        else:
            await self._relay_document(upstream)

    async def _relay_stream(self, upstream: UpstreamAnswer) -> None:
        """Pass events on as they arrive; those that end the stream wait for the charge."""
        self._meter = meter = StreamMeter(hide_usage=self.hides_usage)
        await self.answer.start(upstream.status, headers_for_client(upstream.headers))
        try:
            async for chunk in upstream.chunks():
                passing = meter.feed(chunk)
                if meter.ended:
                    await self._settle()
                    passing += meter.take()
                if passing:
                    await self.answer.write(passing)
        except UpstreamBroke:
            rest = meter.finish()
            await self._settle()
            await self.answer.end(rest + _broken_off_event())
            return
        rest = meter.finish()
        await self._settle()
        await self.answer.end(rest)

    async def _relay_document(self, upstream: UpstreamAnswer) -> None:
        """Keep the document until its charge is known; pass one on that is too large to keep."""
        meter = JsonMeter()
        self._meter = meter
        charged = self.hold is not None
        headers = headers_for_client(upstream.headers)
        kept = bytearray()
        try:
            async for chunk in upstream.chunks():
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
        hold, self.hold = self.hold, None
        if hold is None:
            return None
        meter = self._meter
        if isinstance(meter, JsonMeter):
            meter.finish()
        elif meter.failed and meter.usage is None and not meter.relayed_text():
            await self.settler.void(hold)
            return None
        return await self.settler.settle(hold, meter.usage, lambda: self._counted(hold))

    def _counted(self, hold: Hold) -> Usage:
        if not self._readable:
            return Usage(total=hold.amount, estimated=True)
        return self.count(self._meter.relayed_text())

    async def _void(self) -> None:
        hold, self.hold = self.hold, None
        if hold is not None:
            await self.settler.void(hold)

    @asynccontextmanager
    async def _watching_the_client(self) -> AsyncGenerator[None]:
        """Where the operator chose so, cancel this task when the client has left."""
        if not self.cancels:
            yield
            return
        serving = asyncio.current_task()
        left = False

        async def watch() -> None:
            nonlocal left
            await self.request.wait_for_disconnect()
            left = True
            if serving is not None:
                _ = serving.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if not left or serving is None or serving.uncancel() > 0:
                raise
        finally:
            _ = watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


def _broken_off(*, charged: bool) -> UpstreamIncomplete | UpstreamUnavailable:
    if charged:
        return UpstreamIncomplete(
            "The upstream broke off its answer. What had arrived was charged; trying again would"
            " buy it again."
        )
    return UpstreamUnavailable("The upstream broke off its answer; nothing was charged.")


def _broken_off_event() -> bytes:
    return b"data: " + orjson.dumps(error_document(_broken_off(charged=True))) + b"\n\n"
