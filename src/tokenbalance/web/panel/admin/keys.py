"""The API keys of all users, newest first; each can be revoked."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.people.key_families import families_of
from tokenbalance.people.owned_keys import KEY_STATES, owned_keys_page
from tokenbalance.web.panel.admin.filters import kept, pages
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.key_revoking import revoke_and_tell
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from tokenbalance.people.key_families import Family
    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/keys"
_STATES: Final = {state: state for state in KEY_STATES}


async def show(visit: Visit) -> Response:
    """List keys."""
    form = query_form(visit.request, ("search", "state", "after"))
    search, state = form.text("search"), form.one_of("state", _STATES)
    after = form.typed("after") or None
    page = None
    families: Mapping[int, Family] = {}
    if not form.errors:
        async with visit.management.sessions() as session:
            page = await owned_keys_page(session, search, state, after, ROWS)
            families = await families_of(session, [owned.key for owned in page.data])
    return render(
        visit,
        "admin/keys.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        keys=page.data if page else (),
        families=families,
        states=_STATES,
        links=pages(_PATH, kept(form, ("search", "state")), after, page and page.next),
        now=datetime.now(UTC),
    )


async def revoke(visit: Visit) -> Response:
    """Revoke a key, and the keys made with it."""
    return await revoke_and_tell(visit, _PATH, None)


ROUTES: Final = (
    route("/keys", get=show),
    route("/keys/{key_id}/revoke", post=revoke),
)
