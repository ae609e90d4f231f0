"""Requests to the upstream; the head and the bytes of each response as they arrive."""

from tokenbalance.wire.upstream.client import Headers, Outgoing
from tokenbalance.wire.upstream.faults import UpstreamBroke
from tokenbalance.wire.upstream.seam import (
    Upstream,
    UpstreamAddress,
    UpstreamResponse,
    in_memory,
    open_upstream,
)

__all__ = [
    "Headers",
    "Outgoing",
    "Upstream",
    "UpstreamAddress",
    "UpstreamBroke",
    "UpstreamResponse",
    "in_memory",
    "open_upstream",
]
