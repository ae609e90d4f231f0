"""One's own API keys: create, rotate, revoke. A secret is shown once."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.key_ends import revoke_all_keys
from tokenbalance.people.key_families import families_of
from tokenbalance.people.key_lists import get_key, keys_page
from tokenbalance.people.keys import rotate_key
from tokenbalance.people.sign_in_tokens import end_tokens
from tokenbalance.web.panel.forms import Form, query_form
from tokenbalance.web.panel.key_form import create_from_form
from tokenbalance.web.panel.key_revoking import revoke_and_tell
from tokenbalance.web.panel.key_secret import lead_to_secret, secret_page
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

PATH: Final = "/account/keys"


async def show(visit: Visit) -> Response:
    """List the keys, with the form for a new one."""
    return await _render(visit, Form())


async def create(visit: Visit) -> Response:
    """Create a key, and redirect to its secret."""
    form = visit.form
    async with visit.management.sessions.begin() as session:
        made = await create_from_form(session, visit.caller.account_id, visit)
    if made is None:
        return await _render(visit, form, HTTPStatus.BAD_REQUEST)
    return lead_to_secret(visit, PATH, made, Notice.KEY_MADE)


async def rotate(visit: Visit) -> Response:
    """Give a key a new secret, and redirect to it."""
    async with visit.management.sessions.begin() as session:
        made = await rotate_key(
            session, visit.number("key_id"), visit.caller.account_id, actor=visit.actor
        )
    return lead_to_secret(visit, PATH, made, Notice.KEY_RENEWED)


async def revoke(visit: Visit) -> Response:
    """Revoke a key, and the keys made with it."""
    return await revoke_and_tell(visit, PATH, visit.caller.account_id)


async def revoke_all(visit: Visit) -> Response:
    """Revoke all keys; if asked to, end all other sessions."""
    caller = visit.caller
    async with visit.management.sessions.begin() as session:
        revoked = await revoke_all_keys(session, caller.account_id, actor=visit.actor)
        if visit.form.flag("tokens"):
            await end_tokens(session, caller.account_id, caller.key_id, actor=visit.actor)
    return go_to(PATH, visit, Notice.KEYS_REVOKED, revoked)


async def show_secret(visit: Visit) -> Response:
    """Show a secret, which is only in the browser."""
    async with visit.management.sessions() as session:
        key = await get_key(session, visit.number("key_id"), visit.caller.account_id)
    return secret_page(visit, "account/secret.html", PATH, key)


async def _render(visit: Visit, form: Form, status: int = HTTPStatus.OK) -> Response:
    after = query_form(visit.request).typed("after") or None
    async with visit.management.sessions() as session:
        page = await keys_page(session, visit.caller.account_id, after, ROWS)
        families = await families_of(session, page.data)
    now = datetime.now(UTC)
    return render(
        visit,
        "account/keys.html",
        status=status,
        page=page,
        families=families,
        after=after,
        form=form,
        now=now,
        today=now.date(),
    )


ROUTES: Final = (
    Route(PATH, Page(get=show, post=create), include_in_schema=False),
    Route(f"{PATH}/revoke-all", Page(post=revoke_all), include_in_schema=False),
    Route(f"{PATH}/{{key_id}}/secret", Page(get=show_secret), include_in_schema=False),
    Route(f"{PATH}/{{key_id}}/rotate", Page(post=rotate), include_in_schema=False),
    Route(f"{PATH}/{{key_id}}/revoke", Page(post=revoke), include_in_schema=False),
)
