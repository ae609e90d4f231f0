"""One member of a team: role, whether the member's keys work, credits, removal."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from tokenbalance.people.teams.errors import LastOwner
from tokenbalance.people.teams.members import (
    MemberChanges,
    change_member,
    get_member,
    remove_member,
)
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import act, find_here, path_of, render_team, route
from tokenbalance.web.panel.teams.members import read_role

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """Show a member to whoever may change members."""
    return await member_page(visit, Form())


async def change_role(visit: Visit) -> Response:
    """Give a member another role."""
    role = read_role(visit.form, "role")
    if role is None:
        return await member_page(visit, visit.form)
    return await _change(visit, MemberChanges(role=role), Notice.ROLE_CHANGED)


async def disable(visit: Visit) -> Response:
    """Disable a member in the team."""
    return await _change(visit, MemberChanges(is_active=False), Notice.MEMBER_DISABLED)


async def enable(visit: Visit) -> Response:
    """Enable a member again."""
    return await _change(visit, MemberChanges(is_active=True), Notice.MEMBER_ENABLED)


async def remove(visit: Visit) -> Response:
    """Remove a member, whose keys of the team are revoked."""
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "administer")
            member = await get_member(session, standing.team_id, visit.number("user_id"))
            standing.require_over(member.role)
            _ = await remove_member(session, standing.team_id, member.user_id, actor=visit.actor)
    except LastOwner as error:
        visit.form.refuse(WHOLE, str(error))
        return await member_page(visit, visit.form)
    return go_to(f"{path_of(visit)}/members", visit, Notice.MEMBER_REMOVED)


async def member_page(visit: Visit, form: Form) -> Response:
    """Build the page of the member whose id is in the path.

    Args:
        visit: the visitor's.
        form: the one of the page's forms that was submitted, with its errors.

    Raises:
        UnknownTeam, UnknownMember: there is no such member.
        NotAllowed: the visitor may not change members.

    """
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
        here.standing.require("administer")
        member = await get_member(session, here.team.id, visit.number("user_id"))
    once = secrets.token_urlsafe(16)
    return render_team(visit, "member", here, form, member=member, once=once)


async def _change(visit: Visit, changes: MemberChanges, notice: Notice) -> Response:
    user_id = visit.number("user_id")
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "administer")
            member = await get_member(session, standing.team_id, user_id)
            standing.require_over(member.role, changes.get("role", member.role))
            _ = await change_member(
                session,
                standing.team_id,
                user_id,
                by_superuser=standing.is_superuser,
                actor=visit.actor,
                **changes,
            )
    except LastOwner as error:
        visit.form.refuse(WHOLE, str(error))
        return await member_page(visit, visit.form)
    return go_to(f"{path_of(visit)}/members/{user_id}", visit, notice)


ROUTES: Final = (
    route("/members/{user_id}", get=show),
    route("/members/{user_id}/role", post=change_role),
    route("/members/{user_id}/disable", post=disable),
    route("/members/{user_id}/enable", post=enable),
    route("/members/{user_id}/remove", post=remove),
)
