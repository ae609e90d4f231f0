"""One team: balance, members, keys, recent usage, and the forms that change its balance.

Only shows the page; `balance`, `grants` and `limits` handle the forms, and show this page again
with their errors. What owners and admins do, superusers do on the pages of the team itself.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.books.reports import EntryQuery, RequestQuery, entries_page, requests_page
from tokenbalance.books.reports.limit_states import limit_states
from tokenbalance.model.limits import ACCOUNT
from tokenbalance.people.key_lists import newest_keys
from tokenbalance.people.teams.members import list_members
from tokenbalance.people.teams.teams import get_team
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.admin.user import usage_chart
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.grants import EVERY, parts_of
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.people.teams.rows import TeamRow
    from tokenbalance.web.panel.visit import Visit

_ROWS: Final = 10
"""Of each list, which has a page of its own."""
_KEYS: Final = 50


async def show(visit: Visit) -> Response:
    """Show a team."""
    return await team_page(visit, Form())


async def team_page(visit: Visit, form: Form) -> Response:
    """Build the page of the team whose id is in the path.

    Args:
        visit: the visitor's.
        form: the one of the page's forms that was submitted, with its errors.

    Raises:
        UnknownTeam: no team has this id.

    """
    async with visit.management.sessions.begin() as session:
        team = await team_of(session, visit)
        parts = await parts_of(session, team.id)
        newest = EntryQuery(team.id, newest_first=True)
        members = await list_members(session, team.id)
        return render(
            visit,
            "admin/team.html",
            status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
            form=form,
            # Read again, since something may have been due.
            team=await team_of(session, visit),
            parts=parts,
            states=await limit_states(session, team.id, [ACCOUNT]),
            members=members,
            keys=await newest_keys(session, team.id, _KEYS),
            by_id={member.user_id: member for member in members},
            chart=await usage_chart(session, team.id),
            requests=(await requests_page(session, RequestQuery(team.id), limit=_ROWS)).data,
            entries=(await entries_page(session, newest, limit=_ROWS)).data,
            every=EVERY.items(),
            now=datetime.now(UTC),
            # New for every page: submitting its form twice adds once.
            once=secrets.token_urlsafe(16),
        )


async def team_of(session: Session, visit: Visit) -> TeamRow:
    """Find the team whose id is in the path.

    Raises:
        UnknownTeam: no team has this id.

    """
    return await get_team(session, visit.number("team_id"))


def path_of(visit: Visit) -> str:
    """Return the path of the page of the team whose id is in the path."""
    return f"/admin/teams/{visit.number('team_id')}"


ROUTES: Final = (route("/teams/{team_id}", get=show),)
