"""The page that shows the secret of a user's key, once, to the superuser who created it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.people.key_lists import get_key
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.admin.user import user_of
from tokenbalance.web.panel.key_secret import secret_page

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


def keys_of(user_id: int) -> str:
    """Return the address of a user's keys, where each key's own address begins."""
    return f"/admin/users/{user_id}/keys"


async def show(visit: Visit) -> Response:
    """Show the secret, which is only in the browser."""
    async with visit.management.sessions() as session:
        user = await user_of(session, visit)
        key = await get_key(session, visit.number("key_id"), user.account.id)
    return secret_page(visit, "admin/secret.html", keys_of(user.id), key, user)


ROUTES: Final = (route("/users/{user_id}/keys/{key_id}/secret", get=show),)
