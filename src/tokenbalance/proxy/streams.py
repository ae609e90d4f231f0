"""A response of server-sent events: passed on as they arrive; its end waits for the charge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from tokenbalance.errors import error_document
from tokenbalance.openai.metering.doubt import has_several_choices
from tokenbalance.openai.metering.sse import begins_events
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.proxy.documents import relay_document
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.errors import ProxyError
    from tokenbalance.model import Usage
    from tokenbalance.openai.objects.stream_ids import StreamIds
    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.upstream import UpstreamResponse

Headers = list[tuple[bytes, bytes]]

_BEGINNING_BYTES_MAX: Final = 4096
"""How many blank bytes may come before it must be clear what a response is."""


def is_event_stream(headers: Headers) -> bool:
    """Whether a response is declared to be a stream of events."""
    # A loop, which takes a third of the time of `any`.
    for name, value in headers:
        if name == b"content-type" and value.lower().startswith(b"text/event-stream"):
            return True
    return False


async def relay_declared_stream(relay: Relay, upstream: UpstreamResponse) -> None:
    """Relay what is declared to be a stream, although it may turn out to be a document."""
    meter = _begin_metering(relay)
    await relay.start(upstream)
    try:
        beginning = await upstream.read()
        while beginning.isspace():
            await relay.response.write(beginning)
            beginning = await upstream.read()
    except UpstreamBroke:
        await end_early(relay, meter, relay.broke_off())
        return
    if beginning.lstrip().startswith(b"{"):
        await relay_document(relay, upstream, beginning)
    else:
        await _relay_events(relay, upstream, meter, beginning)


async def relay_requested_stream(relay: Relay, upstream: UpstreamResponse) -> None:
    """Relay what should be a stream and is not declared as one; its beginning decides.

    Raises:
        UpstreamIncomplete: it broke off before that.

    """
    beginning = b""
    try:
        while (is_stream := begins_events(beginning)) is None:
            chunk = await upstream.read()
            beginning += chunk
            if not chunk or len(beginning) > _BEGINNING_BYTES_MAX:
                is_stream = begins_events(beginning)
                break
    except UpstreamBroke as error:
        raise await relay.charged(relay.broke_off()) from error
    if is_stream:
        meter = _begin_metering(relay)
        await relay.start(upstream)
        await _relay_events(relay, upstream, meter, beginning)
    else:
        await relay_document(relay, upstream, beginning)


async def end_early(relay: Relay, meter: StreamMeter, error: ProxyError) -> None:
    """End a stream with what was whole of it, and with the error unless that was all."""
    events, begun = (b"", b"") if relay.ids is None else relay.ids.abandon()
    rest = relay.metered + (meter.feed(events) if events else b"") + meter.abandon(begun)
    relay.metered = b""
    _ = await relay.settle_stream(whole=meter.ended)
    rest = _reworded(relay, meter, rest)
    await relay.response.end(rest if meter.ended else rest + _event(error))


def _begin_metering(relay: Relay) -> StreamMeter:
    asked = relay.asked
    draws = asked.operation.family.draws
    several = not draws and has_several_choices(asked.document)
    images = asked.bound.choices if draws else 0
    relay.ending.meter = meter = StreamMeter(
        hide_usage=relay.hides_usage, several=several, images=images
    )
    relay.ids = relay.ownership.ids_of_stream(relay.asked)
    return meter


async def _relay_events(
    relay: Relay, upstream: UpstreamResponse, meter: StreamMeter, beginning: bytes
) -> None:
    passing = _Passing(relay, meter)
    take = passing.take if relay.ids is None else passing.take_known
    try:
        more = bool(beginning)
        if more and take(beginning):
            more = await upstream.feed(take)
        while more:
            await passing.go_on()
            more = await upstream.feed(take)
    except UpstreamBroke:
        await end_early(relay, meter, relay.broke_off())
        return
    left = b"" if relay.ids is None else relay.ids.finish()
    rest = meter.feed(left) + meter.finish() if left else meter.finish()
    rest = _reworded(relay, meter, rest)
    _ = await relay.settle_stream(whole=True)
    await relay.response.end(rest)


@dataclass(slots=True, eq=False)
class _Passing:
    """Passes events on in the turn of the event loop in which they arrive, where that can be."""

    relay: Relay
    meter: StreamMeter
    usage: Usage | None = None
    """What was noted last."""

    def take(self, chunk: bytes) -> bool:
        """Meter a chunk and send it on; False where that has to wait for something."""
        relay, meter = self.relay, self.meter
        relay.metered = passing = meter.feed(chunk)
        if meter.ended:
            return False
        if meter.usage is not self.usage:
            self.usage = meter.usage
            relay.ending.note(self.usage)
        if passing and not relay.response.write_now(passing):
            return False
        relay.metered = b""
        return True

    def take_known(self, chunk: bytes) -> bool:
        """As `take`, of a stream that may name objects."""
        ids = self.relay.ids
        return self.take(chunk) if ids is None else self._take_known(ids, ids.feed(chunk))

    async def go_on(self) -> None:
        """Send what was taken, after the charge or the commit for which it has to wait."""
        await self._send()
        relay, ids = self.relay, self.relay.ids
        while ids is not None and ids.pending:
            await relay.ownership.record(relay.asked, ids.pending)
            if not self._take_known(ids, ids.release()):
                await self._send()

    def _take_known(self, ids: StreamIds, events: bytes) -> bool:
        """Take events once it is written down what they name."""
        new = ids.take_new()
        if new and not self.relay.ownership.note(self.relay.asked, new):
            ids.hold(new, events)
            return False
        return (not events or self.take(events)) and not ids.pending

    async def _send(self) -> None:
        relay, meter = self.relay, self.meter
        passing = relay.metered
        if meter.ended:
            passing += _reworded(relay, meter, await _at_the_end(relay, meter))
        relay.metered = b""
        if passing:
            await relay.response.write(passing)


async def _at_the_end(relay: Relay, meter: StreamMeter) -> bytes:
    """Settle what the terminal event ends, before that event is passed on."""
    if meter.failed and meter.usage is None:
        # Nobody knows yet what it used: nothing, if really nothing follows.
        return meter.release()
    _ = await relay.settle_stream(whole=True)
    return meter.take()


def _reworded(relay: Relay, meter: StreamMeter, events: bytes) -> bytes:
    """The events that end a stream, with what fails it in our words where that is necessary."""
    if not meter.failed:
        return events
    return relay.wording.of_events(events, relay.asked.model)


def _event(error: ProxyError) -> bytes:
    return b"data: " + orjson.dumps(error_document(error)) + b"\n\n"
