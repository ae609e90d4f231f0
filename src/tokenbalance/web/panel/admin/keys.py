"""The API keys of all users, newest first; each can be revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.people.keys import revoke_key
from tokenbalance.people.owned_keys import KEY_STATES, owned_keys_page
from tokenbalance.web.panel.admin.filters import kept, pages
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/keys"
_STATES: Final = {state: state for state in KEY_STATES}


async def show(visit: Visit) -> Response:
    """List keys."""
    form = query_form(visit.request, ("search", "state", "after"))
    search, state = form.text("search"), form.one_of("state", _STATES)
    after = form.typed("after") or None
    page = None
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await owned_keys_page(session, search, state, after, ROWS)
    return render(
        visit,
        "admin/keys.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        keys=page.data if page else (),
        states=_STATES,
        links=pages(_PATH, kept(form, ("search", "state")), after, page and page.next),
        now=datetime.now(UTC),
    )


async def revoke(visit: Visit) -> Response:
    """Revoke a key."""
    async with visit.management.sessions.begin() as session:
        _ = await revoke_key(session, visit.number("key_id"), actor=visit.actor)
    return go_to(_PATH, visit, Notice.KEY_REVOKED)


ROUTES: Final = (
    route("/keys", get=show),
    route("/keys/{key_id}/revoke", post=revoke),
)
