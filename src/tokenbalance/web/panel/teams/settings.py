"""Settings of a team: its name and time zone, closing it, and leaving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.people.access import user_of
from tokenbalance.people.limits import InvalidLimit
from tokenbalance.people.teams.errors import InvalidTeamName, LastOwner
from tokenbalance.people.teams.members import remove_member
from tokenbalance.people.teams.teams import change_team, close_team
from tokenbalance.web.panel.forms import WHOLE
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import TEAMS, act, path_of, route
from tokenbalance.web.panel.teams.overview import team_page

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def save(visit: Visit) -> Response:
    """Change the name and the time zone."""
    form = visit.form
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "own")
            _ = await change_team(
                session,
                standing.team_id,
                name=form.typed("team-name"),
                time_zone=form.text("time_zone") or None,
                actor=visit.actor,
            )
    except InvalidTeamName as error:
        form.refuse("team-name", str(error))
    except InvalidLimit as error:
        form.refuse(error.field, error.reason)
    else:
        return go_to(path_of(visit), visit, Notice.TEAM_SAVED)
    return await team_page(visit, form)


async def close(visit: Visit) -> Response:
    """Close the team for ever."""
    form = visit.form
    async with visit.management.sessions.begin() as session:
        standing = await act(session, visit, "own")
        if form.flag("sure"):
            _ = await close_team(session, standing.team_id, actor=visit.actor)
        else:
            form.refuse(WHOLE, "check the box to close the team")
    if form.errors:
        return await team_page(visit, form)
    return go_to(path_of(visit), visit, Notice.TEAM_CLOSED)


async def leave(visit: Visit) -> Response:
    """Leave the team, which revokes the own keys of it."""
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "see")
            user_id = user_of(visit.caller)
            _ = await remove_member(session, standing.team_id, user_id, actor=visit.actor)
    except LastOwner as error:
        visit.form.refuse(WHOLE, str(error))
        return await team_page(visit, visit.form)
    return go_to(TEAMS, visit, Notice.TEAM_LEFT)


ROUTES: Final = (
    route("/settings", post=save),
    route("/close", post=close),
    route("/leave", post=leave),
)
