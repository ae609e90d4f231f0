"""A response outside 2xx: relayed as it came, or replaced by an error of ours.

Its hold was voided before: no refusal is charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.openai.failure import ERROR_BYTES_MAX, without_operators_names
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.upstream import UpstreamResponse


async def relay_refusal(relay: Relay, upstream: UpstreamResponse) -> None:
    """Relay a response outside 2xx as it came, or raise the error that takes its place."""
    try:
        await _relay_refusal(relay, upstream)
    except UpstreamBroke as error:
        raise relay.broke_off() from error


async def _relay_refusal(relay: Relay, upstream: UpstreamResponse) -> None:
    kept, ended = bytearray(), False
    try:
        while not ended and len(kept) <= ERROR_BYTES_MAX:
            chunk = await upstream.read()
            kept += chunk
            ended = not chunk
    except UpstreamBroke:
        # Its beginning may say enough.
        relay.wording.judge(upstream.status, bytes(kept), relay.asked.model)
        raise
    relay.wording.judge(upstream.status, bytes(kept), relay.asked.model)
    response = relay.response
    headers = relay.passing.for_client(upstream.headers)
    if ended:
        await response.whole(upstream.status, headers, without_operators_names(bytes(kept)))
        return
    await response.start(upstream.status, headers)
    await response.write(bytes(kept))
    while chunk := await upstream.read():
        await response.write(chunk)
    await response.end()
