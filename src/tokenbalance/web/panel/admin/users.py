"""All users with their balances, with a search."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.grants.due import enter_some_due
from tokenbalance.people.users import users_page
from tokenbalance.web.panel.admin.filters import kept, pages
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/users"


async def show(visit: Visit) -> Response:
    """List the users whose e-mail or name contains the search text."""
    form = query_form(visit.request, ("search", "after"))
    search, after = form.text("search"), form.typed("after") or None
    page = None
    if not form.errors:
        await enter_some_due(visit.management.pool)
        async with visit.management.sessions() as session:
            page = await users_page(session, search, after, ROWS)
    return render(
        visit,
        "admin/users.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        form=form,
        users=page.data if page else (),
        links=pages(_PATH, kept(form, ("search",)), after, page and page.next),
    )


ROUTES: Final = (route("/users", get=show),)
