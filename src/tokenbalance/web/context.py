"""What the pages and the API work with; assembled once, in `app.py`.

The request path does not use it: it has its own pool, and no sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.model import OPENAI
from tokenbalance.openai import SURFACE
from tokenbalance.people.limits import NO_LIMITS
from tokenbalance.people.password_rules import DEFAULT_RULES

if TYPE_CHECKING:
    from starlette.requests import Request

    from tokenbalance.books.pricing.rate_card import RateCard
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import UpstreamTraits
    from tokenbalance.openai import Surface
    from tokenbalance.people.limits import KeyLimits
    from tokenbalance.people.password_rules import PasswordRules


STATEMENT_TIMEOUT_S: Final = 5.0
"""Of a statement of a page or an API request, which a person waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The database and settings of the pages and the API."""

    sessions: Sessions
    """Transactions are explicit: `async with management.sessions.begin() as session`. Pages and API
    only pass the session on, to functions of `people` and `books` that return frozen rows."""
    pool: Pool
    """The request path's, to find callers."""
    signup_open: bool
    """Whether strangers may create users."""
    password_rules: PasswordRules = DEFAULT_RULES
    """Which new passwords are accepted."""
    key_limits: KeyLimits = NO_LIMITS
    """Of new keys and sign-in tokens, unless a superuser lifts them."""
    rate_card: RateCard | None = None
    """The rates of tokens; None: one credit each."""
    upstream: UpstreamTraits = OPENAI
    """The upstream's rules, by which requests are estimated."""
    surface: Surface = SURFACE
    """The operations that are open."""


def address_of(request: Request) -> str:
    """Return the client's IP address; empty if unknown."""
    return request.client.host if request.client else ""


def user_agent_of(request: Request) -> str:
    """Return the name of the client's program, as it says itself; empty if it does not."""
    return request.headers.get("user-agent", "")


def base_url(request: Request) -> str:
    """Return this server's address without a path, as the visitor's browser knows it."""
    scheme, netloc = request.url.scheme, request.url.netloc
    return f"{scheme}://{netloc.removesuffix(':443' if scheme == 'https' else ':80')}"


def management_of(request: Request) -> Management:
    """Return what the lifespan has assembled."""
    return cast("Management", request.state.management)
