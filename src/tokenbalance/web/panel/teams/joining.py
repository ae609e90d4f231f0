"""The page that an invitation opens: whose team it is, and the form that joins it.

Strangers sign in or up first, and come back: until then the secret is in a cookie, never in the
query of an address. They are told nothing about the invitation, and neither is anybody else for
whom it does not work: one that is wrong, was used, has expired, or is for somebody else.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from tokenbalance.people.access import user_of
from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.teams.errors import (
    AlreadyMember,
    TeamClosed,
    TooManyInTeam,
    UnknownInvitation,
)
from tokenbalance.people.teams.invitations import accept, open_invitation, path_of_invitation
from tokenbalance.people.teams.members import find_member
from tokenbalance.web.context import address_of
from tokenbalance.web.panel.cookies import Cookie, clear_cookie, read_cookie, set_cookie
from tokenbalance.web.panel.links import SIGN_IN, address
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.page import Audience, Page
from tokenbalance.web.panel.rendering import go_to, render
from tokenbalance.web.panel.teams.here import TEAMS

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

COME_BACK: Final = "/invitations"
"""Leads to the page of the invitation that the browser keeps."""
_SECRET_CHARS: Final = 43


def after_sign_up(visit: Visit) -> str:
    """Return where a new user goes: to the invitation that they came for, or to the account."""
    return COME_BACK if read_cookie(visit.request, Cookie.INVITATION) else "/account"


async def show(visit: Visit) -> Response:
    """Show the invitation; strangers are asked to sign in."""
    if visit.person is None:
        return _ask_to_sign_in(visit)
    return await _page(visit, None)


async def join(visit: Visit) -> Response:
    """Let the visitor join the team."""
    sessions, user_id = visit.management.sessions, user_of(visit.caller)
    where = address_of(visit.request)
    try:
        member = await accept(sessions, _secret(visit), user_id, where, actor=visit.actor)
    except (UnknownInvitation, TeamClosed, TooSoon) as error:
        return _refusal(visit, error)
    except (AlreadyMember, TooManyInTeam) as error:
        return await _page(visit, error)
    response = go_to(f"{TEAMS}/{member.team_id}", visit, Notice.TEAM_JOINED)
    clear_cookie(visit.request, response, Cookie.INVITATION)
    return response


async def come_back(visit: Visit) -> Response:
    """Lead to the invitation that the browser keeps."""
    secret = read_cookie(visit.request, Cookie.INVITATION) or ""
    return go_to(path_of_invitation(secret) if _may_be(secret) else TEAMS, visit)


def _ask_to_sign_in(visit: Visit) -> Response:
    sign_in = address(SIGN_IN, next=COME_BACK)
    response = render(visit, "invitation.html", invitation=None, sign_in=sign_in, slow_down_s=None)
    if _may_be(_secret(visit)):
        set_cookie(visit.request, response, Cookie.INVITATION, _secret(visit))
    return response


async def _page(visit: Visit, refused: AlreadyMember | TooManyInTeam | None) -> Response:
    """Show what the visitor may join, and why they could not."""
    sessions, user_id = visit.management.sessions, user_of(visit.caller)
    where = address_of(visit.request)
    try:
        invitation, team = await open_invitation(sessions, _secret(visit), user_id, where)
    except (UnknownInvitation, TooSoon) as error:
        return _refusal(visit, error)
    async with sessions() as session:
        member = await find_member(session, team.id, user_id)
    response = render(
        visit,
        "invitation.html",
        status=HTTPStatus.OK if refused is None else HTTPStatus.CONFLICT,
        invitation=invitation,
        team=team,
        is_member=member is not None,
        refused=refused,
        slow_down_s=None,
    )
    clear_cookie(visit.request, response, Cookie.INVITATION)
    return response


def _refusal(visit: Visit, error: UnknownInvitation | TeamClosed | TooSoon) -> Response:
    slow_down_s = error.retry_after_s if isinstance(error, TooSoon) else None
    status = HTTPStatus.TOO_MANY_REQUESTS if slow_down_s else HTTPStatus.NOT_FOUND
    response = render(
        visit, "invitation.html", status=status, invitation=None, slow_down_s=slow_down_s
    )
    clear_cookie(visit.request, response, Cookie.INVITATION)
    if slow_down_s:
        response.headers["retry-after"] = str(slow_down_s)
    return response


def _may_be(secret: str) -> bool:
    """Whether it looks like a secret: only such are kept in the browser."""
    letters = secret.replace("-", "").replace("_", "")
    return len(secret) == _SECRET_CHARS and letters.isascii() and letters.isalnum()


def _secret(visit: Visit) -> str:
    return visit.parameter("secret")


ROUTES: Final = (
    Route(COME_BACK, Page(get=come_back), include_in_schema=False),
    Route(
        path_of_invitation("{secret}"),
        Page(get=show, post=join, audience=Audience.ANYBODY),
        include_in_schema=False,
    ),
)
