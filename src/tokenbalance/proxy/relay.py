"""What one response passes through on its way from the upstream to the client.

Shared by the files that relay refusals, streams and documents. It adds our headers, sends the head,
and has the words for a response that does not come to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.errors import (
    ProxyError,
    ServiceUnavailable,
    UpstreamIncomplete,
    UpstreamUnavailable,
)
from tokenbalance.proxy.limits.headers import rate_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from tokenbalance.model import Charge, Document
    from tokenbalance.model.objects import Found
    from tokenbalance.openai.objects.stream_ids import StreamIds
    from tokenbalance.proxy.admission import Admission
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.ending import Ending
    from tokenbalance.proxy.ownership import Ownership
    from tokenbalance.proxy.wording import Wording
    from tokenbalance.wire.client.response import ClientResponse
    from tokenbalance.wire.passing_headers import PassingHeaders
    from tokenbalance.wire.upstream import UpstreamResponse


@dataclass(slots=True, eq=False)
class Relay:
    """The way of one response, and the hold that ends with it."""

    asked: Asked
    ending: Ending
    response: ClientResponse
    passing: PassingHeaders
    wording: Wording
    hides_usage: bool
    """The client has not asked for the usage that a stream reports."""
    ownership: Ownership
    """Records the objects that the response names."""
    ids: StreamIds | None = None
    """Of a stream that may name objects: finds them."""
    metered: bytes = b""
    """Of a stream: what was metered and is not sent yet, since something has to be done first."""

    def admitted(self, admission: Admission) -> Document:
        """Tell the client what is held; returns the edits that limit the upstream to it."""
        ending = self.ending
        ending.ceiling = admission.ceiling
        ending.progress.output_cap = admission.sent_cap
        ending.progress.capped = admission.output_cap is not None
        self.response.add_header(b"x-tokenbalance-hold", admission.hold.amount)
        if admission.output_cap is not None:
            self.response.add_header(b"x-tokenbalance-output-cap", admission.output_cap)
        if admission.calls_cap is not None:
            self.response.add_header(b"x-tokenbalance-tool-calls-cap", admission.calls_cap)
        if admission.hold.rooms:
            self.response.add_headers(rate_headers(admission.hold.rooms))
        return admission.edits

    def start(self, upstream: UpstreamResponse) -> Awaitable[None]:
        """Send the head before the body is known."""
        return self.response.start(upstream.status, self.passing.for_client(upstream.headers))

    def settle(self, found: Sequence[Found], *, whole: bool) -> Awaitable[Charge | None]:
        """End the hold with what was used, and make what was found the caller's with it.

        Args:
            found: objects that the response names.
            whole: everything that the upstream had to send has come.

        """
        return self.ending.settle(whole=whole, found=found)

    def settle_stream(self, *, whole: bool) -> Awaitable[Charge | None]:
        """As `settle`, with what was found in a stream."""
        if self.ids is None:
            return self.ending.settle(whole=whole)
        return self.settle(self.ids.take_found(), whole=whole)

    def tell_charge(self, charge: Charge | None) -> None:
        """Add to the head what was charged, if it is known and the head is not sent yet."""
        if charge is not None and not self.response.started:
            self.response.add_header(b"x-tokenbalance-charge", charge.amount)
            self.response.add_header(b"x-tokenbalance-balance", charge.balance)

    async def charged(self, error: ProxyError) -> ProxyError:
        """Charge what had arrived of a response that ends with an error, if it is charged."""
        if isinstance(error, UpstreamIncomplete):
            self.tell_charge(await self.ending.settle())
        return error

    def broke_off(self) -> UpstreamIncomplete | UpstreamUnavailable:
        """The upstream ended its response early."""
        if self.ending.charged:
            return UpstreamIncomplete(
                "The upstream broke off its response. What had arrived was charged; a retry would"
                " be charged again."
            )
        return UpstreamUnavailable("The upstream broke off its response; nothing was charged.")

    def cut_off(self) -> UpstreamIncomplete | ServiceUnavailable:
        """This process is stopping, or the client has left."""
        if self.ending.charged:
            return UpstreamIncomplete(
                "This server is shutting down and the response was cut off. What is known of it was"
                " charged; a retry would be charged again."
            )
        return ServiceUnavailable("This server is shutting down")
