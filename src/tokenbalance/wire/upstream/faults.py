"""What the upstream can do wrong, in the words that its callers are told.

Whether a fault costs something is the exchange's to decide: `UpstreamBroke` says that the request
had been accepted, the two others that it had not.
"""

from __future__ import annotations

from tokenbalance.errors import UpstreamTimeout, UpstreamUnavailable


class UpstreamBroke(Exception):
    """The upstream had begun to answer a 2xx and stopped before its end, or in any body."""


def unreachable() -> UpstreamUnavailable:
    """No connection, or none that lasted until an answer."""
    return UpstreamUnavailable("The upstream could not be reached; nothing was charged.")


def too_late() -> UpstreamTimeout:
    """No answer in time."""
    return UpstreamTimeout("The upstream did not answer in time; nothing was charged.")


def unusable() -> UpstreamUnavailable:
    """An answer that is none: a change of protocol."""
    return UpstreamUnavailable(
        "The upstream gave no answer that can be passed on; nothing was charged."
    )
