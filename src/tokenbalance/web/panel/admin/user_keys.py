"""Forms for a user's API keys: create, rotate, revoke one or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.people.key_ends import revoke_all_keys
from tokenbalance.people.keys import rotate_key
from tokenbalance.people.sign_in_tokens import end_tokens
from tokenbalance.web.panel.admin.key_secret import keys_of
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.admin.user import path_of, user_of, user_page
from tokenbalance.web.panel.key_form import create_from_form
from tokenbalance.web.panel.key_revoking import revoke_and_tell
from tokenbalance.web.panel.key_secret import lead_to_secret
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def create(visit: Visit) -> Response:
    """Create a key, and redirect to its secret."""
    form = visit.form
    async with visit.management.sessions.begin() as session:
        user = await user_of(session, visit)
        made = await create_from_form(session, user.account.id, visit)
    if made is None:
        return await user_page(visit, form)
    return lead_to_secret(visit, keys_of(user.id), made, Notice.KEY_MADE)


async def rotate(visit: Visit) -> Response:
    """Give a key a new secret, and redirect to it."""
    async with visit.management.sessions.begin() as session:
        user = await user_of(session, visit)
        made = await rotate_key(session, visit.number("key_id"), user.account.id, actor=visit.actor)
    return lead_to_secret(visit, keys_of(user.id), made, Notice.KEY_RENEWED)


async def revoke(visit: Visit) -> Response:
    """Revoke a key, and the keys made with it."""
    async with visit.management.sessions() as session:
        user = await user_of(session, visit)
    return await revoke_and_tell(visit, path_of(visit), user.account.id)


async def revoke_all(visit: Visit) -> Response:
    """Revoke all keys of the user; if asked to, end all their sessions but the visitor's own."""
    async with visit.management.sessions.begin() as session:
        account_id = (await user_of(session, visit)).account.id
        revoked = await revoke_all_keys(session, account_id, actor=visit.actor)
        if visit.form.flag("tokens"):
            await end_tokens(session, account_id, visit.caller.key_id, actor=visit.actor)
    return go_to(path_of(visit), visit, Notice.KEYS_REVOKED, revoked)


ROUTES: Final = (
    route("/users/{user_id}/keys", post=create),
    route("/users/{user_id}/keys/revoke-all", post=revoke_all),
    route("/users/{user_id}/keys/{key_id}/rotate", post=rotate),
    route("/users/{user_id}/keys/{key_id}/revoke", post=revoke),
)
