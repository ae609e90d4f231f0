"""What the routes that people use work with; put together once, in `app.py`.

The request path has none of this: it has a pool of its own, and no sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tokenbalance.model import OPENAI
from tokenbalance.openai import SURFACE

if TYPE_CHECKING:
    from starlette.requests import Request

    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import UpstreamTraits
    from tokenbalance.openai import Surface


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The books as people work with them."""

    sessions: Sessions
    """Transactions are explicit: `async with management.sessions.begin() as session`."""
    pool: Pool
    """The request path's, for telling who calls."""
    signup_open: bool
    """Anybody may create a user."""
    rate_card: RateCard | None = None
    """What tokens cost; None: one credit each."""
    upstream: UpstreamTraits = OPENAI
    """What requests are bounded for."""
    surface: Surface = SURFACE
    """The operations that are open."""


def address_of(request: Request) -> str:
    """Tell where a request comes from: an IP address, or nothing."""
    return request.client.host if request.client else ""


def management_of(request: Request) -> Management:
    """Get what the lifespan has put together."""
    return cast("Management", request.state.management)
