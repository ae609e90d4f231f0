"""A response of one document: kept until its charge is known, so that the head can carry it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.proxy.snapshots import keep_snapshot
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
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
    has_items = relay.asked.operation.family.has_items
    meter = JsonMeter(has_items=has_items) if ending.charged else None
    ending.meter = meter
    try:
        kept = None if beginning or response.started else upstream.take_whole()
        if kept is None:
            kept = await _keep(relay, upstream, beginning, (meter, headers))
        elif meter is not None:
            meter.feed(kept)
    except UpstreamBroke as error:
        raise relay.broke_off() from error
    finally:
        if meter is not None:
            meter.finish()
    asked = relay.asked
    if not asked.operation.charged and asked.operation.creates:
        await relay.ownership.record(asked, kept)
    if asked.path_ids:
        await keep_snapshot(relay.ownership.owners, asked, kept)
    charge = await ending.settle(whole=True)
    if response.started:
        await response.end(kept)
        return
    if charge is not None:
        response.add_header(b"x-tokenbalance-charge", charge.amount)
        response.add_header(b"x-tokenbalance-balance", charge.balance)
    body = relay.wording.of_document(kept, upstream.status, relay.asked.model)
    await response.whole(upstream.status, headers, body)


async def _keep(
    relay: Relay,
    upstream: UpstreamResponse,
    chunk: bytes,
    watched: tuple[JsonMeter | None, list[tuple[bytes, bytes]]],
) -> bytes:
    """Read a document to its end; returns what was not relayed of it."""
    response = relay.response
    meter, headers = watched
    kept = bytearray()
    while chunk := chunk or await upstream.read():
        if meter is not None:
            meter.feed(chunk)
        if len(kept) + len(chunk) > BUFFERED_BYTES_MAX or response.started:
            if not response.started:
                await response.start(upstream.status, headers)
            await response.write(bytes(kept))
            kept.clear()
        kept += chunk
        chunk = b""
    return bytes(kept)
