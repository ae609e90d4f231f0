"""From bytes to what is asked for: the body of a request, read as its operation takes it.

Owns the kinds of bodies, and which are read in a thread. What a body means is not decided here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tokenbalance.errors import UnsupportedMediaType
from tokenbalance.model import OPENAI, Estimate
from tokenbalance.offload import offload
from tokenbalance.openai.operation import Body
from tokenbalance.proxy.asked import READ_INLINE_BYTES_MAX, Asked, read
from tokenbalance.proxy.forms import Forms
from tokenbalance.wire.client.forms import is_form
from tokenbalance.wire.client.request import BODY_BYTES_MAX, decoded

if TYPE_CHECKING:
    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.model import UpstreamTraits
    from tokenbalance.openai.operation import Operation
    from tokenbalance.people.remembered import Bearer
    from tokenbalance.proxy.bearers import Bearers
    from tokenbalance.proxy.room import Place
    from tokenbalance.wire.client.request import ClientRequest

RECHECK_AFTER_S: Final = 1.0
"""After a body that took longer, the key of a request without a hold is looked up again."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads requests for one upstream at the rates of one card."""

    bearers: Bearers
    traits: UpstreamTraits = OPENAI
    """Of the upstream that requests are bounded for."""
    rate_card: RateCard | None = None
    """None: every token is one credit."""
    body_bytes_max: int = BODY_BYTES_MAX
    forms: Forms = field(default_factory=Forms)

    async def read(
        self, request: ClientRequest, bearer: Bearer, operation: Operation, place: Place
    ) -> Asked:
        """Read the body of a request, and bound what it asks for.

        Raises:
            ProxyError: the body cannot be read, or `proxy.asked.read` refuses what it asks for.
            ClientGone: the client has left.

        """
        if Body.FORM in operation.bodies and _brings_form(request, operation):
            return await self._read_form(request, bearer, operation, place)
        codings = request.codings()
        began = time.monotonic()
        body = await request.read_body(self.body_bytes_max, keep=place.keep)
        if not operation.charged and time.monotonic() - began > RECHECK_AFTER_S:
            # Its key may have ended meanwhile; the statement of a hold looks for that itself.
            await self.bearers.look_up(bearer)
        caller = bearer.caller
        if codings and body:
            body = await decoded(body, codings, self.body_bytes_max)
            place.keep(len(body))
        if not operation.bodies:
            return Asked(caller, operation, body, {}, Estimate(0), None, self.traits)
        request.require_json()
        if len(body) <= READ_INLINE_BYTES_MAX:
            return read(caller, operation, body, self.traits, self.rate_card)
        return await offload(read, caller, operation, body, self.traits, self.rate_card)

    async def _read_form(
        self, request: ClientRequest, bearer: Bearer, operation: Operation, place: Place
    ) -> Asked:
        began = time.monotonic()
        form = await self.forms.read(request, place, operation.family.form_bytes_max)
        if not operation.charged and time.monotonic() - began > RECHECK_AFTER_S:
            # As for a document.
            await self.bearers.look_up(bearer)
        return read(bearer.caller, operation, form, self.traits, self.rate_card)


def _brings_form(request: ClientRequest, operation: Operation) -> bool:
    """Whether the body is a form, of an operation that takes one.

    Raises:
        UnsupportedMediaType: it is not, and the operation takes nothing else.

    """
    if is_form(request.headers):
        return True
    if Body.JSON not in operation.bodies:
        msg = "The request body must be a form (Content-Type: multipart/form-data; boundary=...)."
        raise UnsupportedMediaType(msg)
    return False
