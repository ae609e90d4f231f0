"""A response outside 2xx: relayed as it came, or replaced by an error of ours.

No refusal is charged. Its hold is voided before anything is passed on, with the code that the body
gives as the reason, unless the body takes so long that the hold is better released without one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from tokenbalance.openai.failure import ERROR_BYTES_MAX, without_operators_names
from tokenbalance.openai.metering.outcome import error_code
from tokenbalance.openai.metering.sse import document_of
from tokenbalance.wire.upstream import UpstreamBroke

if TYPE_CHECKING:
    from tokenbalance.proxy.relay import Relay
    from tokenbalance.wire.upstream import UpstreamResponse

REASON_S: Final = 2.0
"""How long a hold waits for the body of the refusal that ends it."""


class _Beginning(NamedTuple):
    """The first bytes of a refusal, enough to find its reason."""

    body: bytes
    ended: bool
    """It is the whole body."""
    fault: UpstreamBroke | None
    """Why there is no more of it."""


async def relay_refusal(relay: Relay, upstream: UpstreamResponse) -> None:
    """Void the hold, and relay a response outside 2xx or raise the error that takes its place."""
    try:
        await _relay_refusal(relay, upstream, await _void_with_reason(relay, upstream))
    except UpstreamBroke as error:
        raise relay.broke_off() from error


async def _void_with_reason(relay: Relay, upstream: UpstreamResponse) -> _Beginning:
    # A task, because a read that is cancelled may lose the connection.
    reading = asyncio.create_task(_read_beginning(upstream))
    try:
        _ = await asyncio.wait({reading}, timeout=REASON_S)
        if reading.done():
            relay.ending.progress.error_code = error_code(document_of(reading.result().body))
        await relay.ending.void()
        return await reading
    finally:
        _ = reading.cancel()


async def _read_beginning(upstream: UpstreamResponse) -> _Beginning:
    kept = bytearray()
    try:
        while len(kept) <= ERROR_BYTES_MAX:
            chunk = await upstream.read()
            if not chunk:
                return _Beginning(bytes(kept), ended=True, fault=None)
            kept += chunk
    except UpstreamBroke as error:
        return _Beginning(bytes(kept), ended=False, fault=error)
    return _Beginning(bytes(kept), ended=False, fault=None)


async def _relay_refusal(relay: Relay, upstream: UpstreamResponse, beginning: _Beginning) -> None:
    # Where it broke off, its beginning may say enough.
    relay.wording.judge(upstream.status, beginning.body, relay.asked.model)
    if beginning.fault is not None:
        raise beginning.fault
    response = relay.response
    headers = relay.passing.for_client(upstream.headers)
    if beginning.ended:
        await response.whole(upstream.status, headers, without_operators_names(beginning.body))
        return
    await response.start(upstream.status, headers)
    await response.write(beginning.body)
    while chunk := await upstream.read():
        await response.write(chunk)
    await response.end()
