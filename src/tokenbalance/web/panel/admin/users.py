"""All users with their balances, with a search, and what can be done to all with a tag."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.grants.due import enter_some_due
from tokenbalance.people.tag_names import InvalidTag, clean_tag
from tokenbalance.people.tags import list_tags
from tokenbalance.people.users import users_page
from tokenbalance.web.panel.admin.filters import kept, pages
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import Form, query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/users"


async def show(visit: Visit) -> Response:
    """List the users whose e-mail or name contains the search text."""
    return await users_list(visit, Form())


async def users_list(visit: Visit, sent: Form) -> Response:
    """Build the list that the address asks for.

    Args:
        visit: the visitor's.
        sent: the form about a tag that was submitted, with its errors.

    """
    form = query_form(visit.request, ("search", "tag", "after"))
    search, after = form.text("search"), form.typed("after") or None
    tag = _read_tag(form)
    page = None
    if not form.errors:
        await enter_some_due(visit.management.pool)
    async with visit.management.sessions() as session:
        if not form.errors:
            page = await users_page(session, search, after, ROWS, tag)
        tags = {row.name: row for row in await list_tags(session)}
    wrong = form.errors or sent.errors
    return render(
        visit,
        "admin/users.html",
        status=HTTPStatus.BAD_REQUEST if wrong else HTTPStatus.OK,
        form=form,
        sent=sent,
        tag=tag,
        tags=tags,
        # New for every page: submitting its form twice adds once.
        once=secrets.token_urlsafe(16),
        users=page.data if page else (),
        links=pages(_PATH, kept(form, ("search", "tag")), after, page and page.next),
    )


def _read_tag(form: Form) -> str:
    typed = form.text("tag")
    try:
        return clean_tag(typed) if typed else ""
    except InvalidTag as error:
        form.refuse("tag", str(error))
        return ""


ROUTES: Final = (route("/users", get=show),)
