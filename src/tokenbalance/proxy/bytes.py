"""A response of bytes that nobody reads here: a file, or speech. Passed on as it comes, never kept.

A client has all of it when the announced length has arrived, or the chunk that ends it. Where it is
charged, the last byte or that chunk therefore waits for the charge, and so does the head of an
empty body. A response without a byte costs nothing. It must never change a byte.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.upstream import UpstreamResponse


async def relay_bytes(relay: Relay, upstream: UpstreamResponse) -> None:
    """Relay a response as it comes; where the upstream breaks it off, it breaks off here too."""
    response, ending = relay.response, relay.ending
    headers = relay.passing.for_client(upstream.headers)
    length = _length_of(upstream)
    if ending.charged and (length == 0 or upstream.status == HTTPStatus.NO_CONTENT):
        await _end(relay, is_empty=True)
        await response.whole(upstream.status, headers, b"")
        return
    await response.start(upstream.status, headers, length)
    keeps = ending.charged and length is not None
    is_empty = True
    kept = b""
    try:
        while chunk := await upstream.read():
            passing, is_empty = chunk, False
            if keeps:
                passing, kept = kept + chunk[:-1], chunk[-1:]
            await response.write(passing)
    except UpstreamBroke:
        _ = await ending.settle()
        response.break_off()
        return
    await _end(relay, is_empty=is_empty)
    await response.end(kept)


async def _end(relay: Relay, *, is_empty: bool) -> None:
    """End the hold of a response that is complete."""
    if is_empty and not relay.asked.operation.has_fixed_ceiling:
        await relay.ending.void()
    else:
        _ = await relay.ending.settle(whole=True)


def _length_of(upstream: UpstreamResponse) -> int | None:
    """How long the body is, as its head says; None where it does not, or it is decoded here."""
    length = dict(upstream.headers).get(b"content-length", b"")
    return int(length) if length.isdigit() else None
