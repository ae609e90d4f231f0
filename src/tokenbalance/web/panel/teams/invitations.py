"""Inviting people into a team by a link, which is shown once, and withdrawing invitations.

On its way from the form to the page that shows it, the secret of a link is only in the browser, in
a cookie that the page deletes, sealed with the session's own secret: nobody who can set cookies may
make people hand out another link.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from tokenbalance.people.teams.errors import TooManyInTeam, UnknownInvitation
from tokenbalance.people.teams.invitations import (
    invite,
    list_invitations,
    path_of_invitation,
    withdraw,
)
from tokenbalance.people.users import InvalidEmail
from tokenbalance.web.context import base_url
from tokenbalance.web.panel.cookies import Cookie, clear_cookie, read_cookie, set_cookie
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import act, find_here, path_of, render_team, route
from tokenbalance.web.panel.teams.members import members_page, read_role

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_PURPOSE: Final = b"tokenbalance: link of an invitation"


async def make(visit: Visit) -> Response:
    """Create an invitation, and redirect to its link."""
    form = visit.form
    email, role = form.text("invite-email"), read_role(form, "invite-role")
    if role is None or form.errors:
        return await members_page(visit, form)
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "administer")
            standing.require_over(role)
            invitation, secret = await invite(
                session, standing.team_id, role, email or None, actor=visit.actor
            )
    except InvalidEmail as error:
        form.refuse("invite-email", str(error))
    except TooManyInTeam as error:
        form.refuse(WHOLE, str(error))
    else:
        page = f"{path_of(visit)}/invitations/{invitation.id}"
        response = go_to(page, visit, Notice.INVITED)
        sealed = f"{secret}:{_seal(visit, invitation.id, secret)}"
        set_cookie(visit.request, response, Cookie.NEW_LINK, sealed)
        return response
    return await members_page(visit, form)


async def show(visit: Visit) -> Response:
    """Show the link of an invitation from the browser's cookie, or say that it was shown before."""
    number = visit.number("invitation_id")
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
        here.standing.require("administer")
        invitations = await list_invitations(session, here.team.id)
    invitation = next((one for one in invitations if one.id == number), None)
    if invitation is None:
        msg = f"no invitation of this team has the id {number}"
        raise UnknownInvitation(msg)
    secret = _kept_secret(visit, number)
    link = f"{base_url(visit.request)}{path_of_invitation(secret)}" if secret else None
    response = render_team(visit, "invitation", here, Form(), invitation=invitation, link=link)
    clear_cookie(visit.request, response, Cookie.NEW_LINK)
    return response


async def take_back(visit: Visit) -> Response:
    """Withdraw an invitation."""
    async with visit.management.sessions.begin() as session:
        standing = await act(session, visit, "administer")
        number = visit.number("invitation_id")
        _ = await withdraw(session, standing.team_id, number, actor=visit.actor)
    return go_to(f"{path_of(visit)}/members", visit, Notice.INVITATION_WITHDRAWN)


def _seal(visit: Visit, invitation_id: int, secret: str) -> str:
    key = visit.signed_in.secret.encode()
    return hmac.new(
        key, _PURPOSE + f" {invitation_id} {secret}".encode(), hashlib.sha256
    ).hexdigest()


def _kept_secret(visit: Visit, invitation_id: int) -> str | None:
    secret, _, seal = (read_cookie(visit.request, Cookie.NEW_LINK) or "").partition(":")
    expected = _seal(visit, invitation_id, secret)
    return secret if hmac.compare_digest(expected.encode(), seal.encode()) else None


ROUTES: Final = (
    route("/invitations", post=make),
    route("/invitations/{invitation_id}", get=show),
    route("/invitations/{invitation_id}/withdraw", post=take_back),
)
