"""A response of one document: kept until its charge is known, so that the head can carry it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tokenbalance.offload import offload
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.ends import EndMeter
from tokenbalance.proxy.asked import READ_INLINE_BYTES_MAX
from tokenbalance.proxy.snapshots import keep_snapshot
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.model.objects import Found
    from tokenbalance.openai.objects.scanner import IdScanner
    from tokenbalance.openai.operation import Operation
    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.upstream import UpstreamResponse

BUFFERED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Documents up to this size are kept until they are settled; of longer ones only the last chunk
is."""


async def relay_document(relay: Relay, upstream: UpstreamResponse, beginning: bytes = b"") -> None:
    """Keep a document until its charge is known; relay one at once that is too large to keep.

    Raises:
        UpstreamIncomplete, UpstreamUnavailable: it broke off.

    """
    response, ending = relay.response, relay.ending
    headers = relay.passing.for_client(upstream.headers)
    meter = _meter_of(relay.asked.operation) if ending.charged else None
    ending.meter = meter
    reading, broken, kept = None, None, b""
    try:
        whole = None if beginning or response.started else upstream.take_whole()
        if whole is None:
            reading = _Reading(relay, upstream, meter, headers)
            kept = await reading.keep(beginning)
        else:
            kept = whole
            if meter is not None:
                meter.feed(kept)
    except UpstreamBroke as error:
        broken = error
    finally:
        if meter is not None:
            meter.finish()
    if broken is not None:
        raise await relay.charged(relay.broke_off()) from broken
    if reading is not None and reading.is_long:
        found = reading.found
    elif len(kept) <= READ_INLINE_BYTES_MAX:
        found = relay.ownership.found_in(relay.asked, kept)
    else:
        found = await offload(relay.ownership.found_in, relay.asked, kept)
    charge = await relay.settle(found, whole=True)
    if relay.asked.path_ids:
        await keep_snapshot(relay.ownership.owners, relay.asked, kept)
    if response.started:
        await response.end(kept)
        return
    relay.tell_charge(charge)
    body = relay.wording.of_document(kept, upstream.status, relay.asked.model)
    await response.whole(upstream.status, headers, body)


@dataclass(slots=True, eq=False)
class _Reading:
    """Reads a document to its end."""

    relay: Relay
    upstream: UpstreamResponse
    meter: JsonMeter | EndMeter | None
    headers: list[tuple[bytes, bytes]]
    is_long: bool = False
    """It is passed on as it comes."""
    found: list[Found] = field(default_factory=list["Found"])
    """What a long one names, all of which is the caller's already."""
    _ids: IdScanner | None = None

    async def keep(self, chunk: bytes) -> bytes:
        """Read it; returns what was not relayed of it, behind the beginning that was read."""
        response = self.relay.response
        kept = bytearray()
        while chunk := chunk or await self.upstream.read():
            if self.meter is not None:
                self.meter.feed(chunk)
            if len(kept) + len(chunk) > BUFFERED_BYTES_MAX or response.started:
                if not self.is_long:
                    await self._begin(bytes(kept))
                ready = len(kept) - await self._unknown(chunk)
                await response.write(bytes(kept[:ready]))
                del kept[:ready]
            kept += chunk
            chunk = b""
        return bytes(kept)

    async def _begin(self, kept: bytes) -> None:
        """Begin to pass it on."""
        relay = self.relay
        self.is_long = True
        self._ids = relay.ownership.ids_of_long(relay.asked)
        if self._ids is not None:
            await self._record(await offload(self._ids.feed, kept))
        if not relay.response.started:
            await relay.response.start(self.upstream.status, self.headers)

    async def _unknown(self, chunk: bytes) -> int:
        """Look for ids in what came last; how many bytes before it may be a part of one."""
        if self._ids is None:
            return 0
        await self._record(self._ids.feed(chunk))
        return max(self._ids.unfinished - len(chunk), 0)

    async def _record(self, found: list[Found]) -> None:
        if found:
            await self.relay.ownership.record(self.relay.asked, found)
            self.found += found


def _meter_of(operation: Operation) -> JsonMeter | EndMeter:
    ceiling = operation.ceiling
    if ceiling is not None and ceiling.reckon is not None:
        return EndMeter(operation.family)
    return JsonMeter(has_items=operation.family.has_items)
