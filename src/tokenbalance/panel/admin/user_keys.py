"""A user's API keys, made, given a new secret and revoked by a superuser on the user's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.accounts.keys import (
    InvalidExpiry,
    InvalidKeyName,
    create_key,
    revoke_key,
    rotate_key,
)
from tokenbalance.panel.admin.key_secret import secret_page
from tokenbalance.panel.admin.routing import route
from tokenbalance.panel.admin.user import path_of, user_of, user_page
from tokenbalance.panel.key_form import read_limits
from tokenbalance.panel.notices import Notice
from tokenbalance.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.panel.visit import Visit


async def create(visit: Visit) -> Response:
    """Make a key, and show its secret."""
    form = visit.form
    name, expires_at, limits = form.text("name"), form.end_of_day("expires_on"), read_limits(form)
    if form.errors:
        return await user_page(visit, form)
    try:
        async with visit.management.sessions.begin() as session:
            user = await user_of(session, visit)
            made = await create_key(
                session, user.account.id, name=name, expires_at=expires_at, limits=limits
            )
    except InvalidKeyName as error:
        form.refuse("name", str(error))
    except InvalidExpiry as error:
        form.refuse("expires_on", str(error))
    else:
        return secret_page(visit, user, made, "The key is made")
    return await user_page(visit, form)


async def rotate(visit: Visit) -> Response:
    """Give a key a new secret, and show it."""
    async with visit.management.sessions.begin() as session:
        user = await user_of(session, visit)
        made = await rotate_key(session, visit.number("key_id"), user.account.id)
    return secret_page(visit, user, made, "The key has a new secret")


async def revoke(visit: Visit) -> Response:
    """End a key."""
    async with visit.management.sessions.begin() as session:
        user = await user_of(session, visit)
        _ = await revoke_key(session, visit.number("key_id"), user.account.id)
    return go_to(path_of(visit), visit, Notice.KEY_REVOKED)


ROUTES: Final = (
    route("/users/{user_id}/keys", post=create),
    route("/users/{user_id}/keys/{key_id}/rotate", post=rotate),
    route("/users/{user_id}/keys/{key_id}/revoke", post=revoke),
)
