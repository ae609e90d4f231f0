"""What can go wrong at the upstream, with the messages for callers.

The exchange decides whether a fault costs something: `UpstreamBroke` means that the request had
been accepted, the two others that it had not.
"""

from __future__ import annotations

from tokenbalance.errors import UpstreamTimeout, UpstreamUnavailable


class UpstreamBroke(Exception):
    """A 2xx response stopped before its end, or any response in its body."""


def unreachable() -> UpstreamUnavailable:
    """No connection, or none that lasted until a response."""
    return UpstreamUnavailable("The upstream could not be reached; nothing was charged.")


def too_late() -> UpstreamTimeout:
    """No response in time."""
    return UpstreamTimeout("The upstream did not respond in time; nothing was charged.")


def unusable() -> UpstreamUnavailable:
    """A response that cannot be relayed: a change of protocol."""
    return UpstreamUnavailable(
        "The upstream sent a response that cannot be relayed; nothing was charged."
    )
