"""What a user has stored upstream."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.owners.stored import stored_page
from tokenbalance.web.panel.admin.filters import kept, pages, read_whose
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.rendering import render
from tokenbalance.web.panel.stored_kinds import KIND_NAMES

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/objects"
_FIELDS: Final = ("user", "kind")


async def show(visit: Visit) -> Response:
    """List the objects of the user whose e-mail was typed."""
    form = query_form(visit.request, (*_FIELDS, "after"))
    account_id = (await read_whose(visit, form)).account_id
    kind = form.one_of("kind", KIND_NAMES) or None
    after = form.typed("after") or None
    page = None
    if account_id is not None and not form.errors:
        async with visit.management.sessions() as session:
            page = await stored_page(session, account_id, kind, after, ROWS)
    return render(
        visit,
        "admin/objects.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        objects=page.data if page else (),
        kinds=KIND_NAMES,
        links=pages(_PATH, kept(form, _FIELDS), after, page and page.next),
    )


ROUTES: Final = (route("/objects", get=show),)
