"""A response of bytes that nobody reads here: a file, or speech. Passed on as it comes, never kept.

A client has all of it when the announced length has arrived, or the last chunk. Where it is
charged, the last bytes therefore wait for the charge. It must never change a byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.upstream import UpstreamResponse


async def relay_bytes(relay: Relay, upstream: UpstreamResponse) -> None:
    """Relay a response as it comes; where the upstream breaks it off, it breaks off here too."""
    response, ending = relay.response, relay.ending
    headers = relay.passing.for_client(upstream.headers)
    await response.start(upstream.status, headers, _length_of(upstream))
    kept = b""
    try:
        while chunk := await upstream.read():
            if ending.charged:
                kept, chunk = chunk, kept
            await response.write(chunk)
    except UpstreamBroke:
        _ = await ending.settle()
        response.break_off()
        return
    _ = await ending.settle(whole=True)
    await response.end(kept)


def _length_of(upstream: UpstreamResponse) -> int | None:
    """How long the body is, as its head says; None where it does not, or it is decoded here."""
    length = dict(upstream.headers).get(b"content-length", b"")
    return int(length) if length.isdigit() else None
