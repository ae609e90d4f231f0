"""One's own teams, and the form that creates one."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.access import user_of
from tokenbalance.people.teams.errors import InvalidTeamName, TooManyInTeam
from tokenbalance.people.teams.teams import create_team, teams_of_user
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.page import Page
from tokenbalance.web.panel.rendering import go_to, render
from tokenbalance.web.panel.teams.here import TEAMS

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """List the visitor's teams."""
    return await _render(visit, Form())


async def create(visit: Visit) -> Response:
    """Create a team, which the visitor owns."""
    form = visit.form
    try:
        async with visit.management.sessions.begin() as session:
            name, owner_id = form.typed("team-name"), user_of(visit.caller)
            team = await create_team(session, name, owner_id, actor=visit.actor)
    except InvalidTeamName as error:
        form.refuse("team-name", str(error))
    except TooManyInTeam as error:
        form.refuse(WHOLE, str(error))
    else:
        return go_to(f"{TEAMS}/{team.id}", visit, Notice.TEAM_CREATED)
    return await _render(visit, form)


async def _render(visit: Visit, form: Form) -> Response:
    async with visit.management.sessions() as session:
        teams = await teams_of_user(session, user_of(visit.caller))
    status = HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK
    return render(visit, "teams/teams.html", status=status, form=form, teams=teams)


ROUTES: Final = (Route(TEAMS, Page(get=show, post=create), include_in_schema=False),)
