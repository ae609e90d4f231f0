"""The members of a team, with who is invited, and the form that adds one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.reports import Group, Period, UsageQuery, all_usage_by
from tokenbalance.books.reports.period import midnight
from tokenbalance.people.teams.errors import AlreadyMember, TooManyInTeam
from tokenbalance.people.teams.invitations import list_invitations
from tokenbalance.people.teams.members import add_member, list_members
from tokenbalance.people.users import UnknownUser, find_user
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import act, find_here, own_keys, path_of, render_team, route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from tokenbalance.database.connections import Session
    from tokenbalance.people.teams.rows import TeamRole
    from tokenbalance.web.panel.teams.here import Here
    from tokenbalance.web.panel.visit import Visit

_ROLES: Final[dict[TeamRole, str]] = {
    "viewer": "viewer",
    "member": "member",
    "admin": "admin",
    "owner": "owner",
}


async def show(visit: Visit) -> Response:
    """List the members."""
    return await members_page(visit, Form())


async def add(visit: Visit) -> Response:
    """Add the user whose e-mail was typed."""
    form = visit.form
    email, role = form.text("email", required=True), read_role(form, "role")
    if role is None or form.errors:
        return await members_page(visit, form)
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "administer")
            standing.require_over(role)
            user = await find_user(session, email)
            if user.is_active:
                _ = await add_member(session, standing.team_id, user.id, role, actor=visit.actor)
            else:
                form.refuse("email", "this user is disabled")
    except UnknownUser:
        form.refuse("email", "no user has this e-mail. Create an invitation instead")
    except AlreadyMember as error:
        form.refuse("email", str(error))
    except TooManyInTeam as error:
        form.refuse(WHOLE, str(error))
    if form.errors:
        return await members_page(visit, form)
    return go_to(f"{path_of(visit)}/members", visit, Notice.MEMBER_ADDED)


async def members_page(visit: Visit, form: Form) -> Response:
    """Build the page of the members.

    Args:
        visit: the visitor's.
        form: the one of the page's forms that was submitted, with its errors.

    """
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
        invitations = None
        if here.may("administer"):
            invitations = await list_invitations(session, here.team.id)
        return render_team(
            visit,
            "members",
            here,
            form,
            members=await list_members(session, here.team.id),
            used=await _used(session, visit, here),
            invitations=invitations,
        )


def read_role(form: Form, name: str) -> TeamRole | None:
    """Read a role; None, and an error in the form, if none was chosen."""
    chosen = form.one_of(name, cast("Mapping[str, str]", _ROLES))
    if not chosen:
        form.refuse(name, "choose a role")
        return None
    return cast("TeamRole", chosen)


async def _used(session: Session, visit: Visit, here: Here) -> Mapping[int | None, int]:
    """Sum what was charged this month by who answers for the key, as far as the visitor may see."""
    key_ids = await own_keys(session, visit, here)
    since = midnight(datetime.now(UTC).date().replace(day=1))
    query = UsageQuery(here.team.id, frozenset({Group.USER}), Period(since), key_ids=key_ids)
    return {row.user_id: row.sums.charge for row in await all_usage_by(session, query)}


ROUTES: Final = (route("/members", get=show, post=add),)
