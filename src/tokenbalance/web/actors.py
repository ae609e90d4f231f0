"""From the caller of a request to the actor that is written down: the one place for both.

Pages know their visitor's e-mail; management routes look it up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.model import Actor
from tokenbalance.people.access import user_of
from tokenbalance.people.users import get_user
from tokenbalance.web.context import address_of, management_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tokenbalance.model import Caller


def actor_at(request: Request, caller: Caller, email: str) -> Actor:
    """Return the actor of a request, whose caller has this e-mail."""
    return Actor(
        name=email,
        user_id=caller.user_id,
        key_id=None if caller.signed_in else caller.key_id,
        address=address_of(request),
        is_superuser=caller.is_superuser,
    )


async def find_actor(request: Request, caller: Caller) -> Actor:
    """Look the e-mail of a caller up, and return the actor."""
    async with management_of(request).sessions() as session:
        return actor_at(request, caller, (await get_user(session, user_of(caller))).email)
