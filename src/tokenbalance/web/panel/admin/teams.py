"""All teams with their balances, with a search, and the form that creates one for an owner."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.grants.due import enter_some_due
from tokenbalance.people.access import user_of
from tokenbalance.people.teams.errors import InvalidTeamName
from tokenbalance.people.teams.teams import create_team, teams_page
from tokenbalance.people.users import UnknownUser, find_user
from tokenbalance.web.panel.admin.filters import kept, pages
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import Form, query_form
from tokenbalance.web.panel.listing import ROWS
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PATH: Final = "/admin/teams"


async def show(visit: Visit) -> Response:
    """List the teams whose name contains the search text."""
    return await _page(visit, Form())


async def create(visit: Visit) -> Response:
    """Create a team, owned by the user whose e-mail was typed; of nobody if none was."""
    form = visit.form
    email = form.text("owner")
    try:
        async with visit.management.sessions.begin() as session:
            owner_id = (await find_user(session, email)).id if email else None
            name = form.typed("team-name")
            team = await create_team(session, name, owner_id, actor=visit.actor)
    except UnknownUser:
        form.refuse("owner", "no user has this e-mail")
    except InvalidTeamName as error:
        form.refuse("team-name", str(error))
    else:
        return go_to(f"{_PATH}/{team.id}", visit, Notice.TEAM_CREATED)
    return await _page(visit, form)


async def _page(visit: Visit, sent: Form) -> Response:
    form = query_form(visit.request, ("search", "after"))
    search, after = form.text("search"), form.typed("after") or None
    page = None
    if not form.errors:
        await enter_some_due(visit.management.pool)
        async with visit.management.sessions() as session:
            user_id = user_of(visit.caller)
            page = await teams_page(session, user_id, search, after, ROWS, everybodys=True)
    return render(
        visit,
        "admin/teams.html",
        status=HTTPStatus.BAD_REQUEST if form.errors or sent.errors else HTTPStatus.OK,
        form=form,
        sent=sent,
        teams=page.data if page else (),
        links=pages(_PATH, kept(form, ("search",)), after, page and page.next),
    )


ROUTES: Final = (route("/teams", get=show, post=create),)
