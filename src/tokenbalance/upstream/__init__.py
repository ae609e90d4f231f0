"""The upstream: one request there, its head and its bytes back as they arrive."""

from tokenbalance.upstream.client import Headers
from tokenbalance.upstream.faults import UpstreamBroke
from tokenbalance.upstream.seam import (
    Upstream,
    UpstreamAddress,
    UpstreamAnswer,
    open_upstream,
)

__all__ = [
    "Headers",
    "Upstream",
    "UpstreamAddress",
    "UpstreamAnswer",
    "UpstreamBroke",
    "open_upstream",
]
