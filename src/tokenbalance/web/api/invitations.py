"""Invitations to a team: make, list, withdraw, accept. The secret is in one response only."""

from datetime import datetime
from typing import Annotated, ClassVar, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from tokenbalance.errors import TooManyAttempts
from tokenbalance.model import Json
from tokenbalance.people.access import user_of
from tokenbalance.people.attempts import TooSoon
from tokenbalance.people.emails import EMAIL_CHARS_MAX
from tokenbalance.people.teams.invitations import (
    accept,
    invite,
    list_invitations,
    path_of_invitation,
    withdraw,
)
from tokenbalance.people.teams.rows import InvitationRow, TeamRole
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.web.api.bodies import Body, BodyReader
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import TEXT_CHARS_MAX, Number
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import address_of, base_url, management_of

invitations_router = api_router("Teams")

_INVITATION_EXAMPLE: Final[dict[str, Json]] = {
    "id": 9,
    "email": "ada@example.com",
    "role": "member",
    "created_by": "grace@example.com",
    "created_at": "2030-01-31T12:00:00Z",
    "expires_at": "2030-02-07T12:00:00Z",
}
_SECRET_EXAMPLE: Final = "Zy98Xw..."  # noqa: S105 - nobody's


class NewInvitation(Body):
    """An invitation to make."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "role": "member"}]}
    )

    email: str | None = Field(
        default=None,
        max_length=EMAIL_CHARS_MAX,
        description="Of the user who may use it, who need not exist yet; null: whoever has it.",
    )
    role: TeamRole = Field(default="member", description="What whoever uses it becomes.")


class UsedInvitation(Body):
    """An invitation to use."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"secret": _SECRET_EXAMPLE}]}
    )

    secret: SecretStr = Field(
        max_length=TEXT_CHARS_MAX, description="The last part of the invitation's link."
    )


class InvitationResponse(BaseModel):
    """An invitation that can be used, without its secret."""

    model_config: ClassVar[ConfigDict] = example(**_INVITATION_EXAMPLE)

    id: int
    email: str | None
    """Of the user who may use it; null: whoever has it."""
    role: TeamRole
    created_by: str
    created_at: datetime
    expires_at: datetime


class NewInvitationResponse(InvitationResponse):
    """An invitation with its secret, which cannot be shown again."""

    model_config: ClassVar[ConfigDict] = example(
        **_INVITATION_EXAMPLE,
        link=f"https://tokens.example.com{path_of_invitation(_SECRET_EXAMPLE)}",
        secret=_SECRET_EXAMPLE,
    )

    link: str
    """The page on which it is used."""
    secret: str


class InvitationsResponse(BaseModel):
    """The invitations of a team that can be used."""

    model_config: ClassVar[ConfigDict] = example(data=[_INVITATION_EXAMPLE])

    data: list[InvitationResponse]


class JoinedResponse(BaseModel):
    """The team that you have joined."""

    model_config: ClassVar[ConfigDict] = example(team_id=12, role="member")

    team_id: int
    role: TeamRole


@invitations_router.get(
    "/teams/{team_id}/invitations", summary="List invitations", responses={403: {}}
)
async def invitations_of(
    request: Request, caller: Authenticated, team_id: Number
) -> InvitationsResponse:
    """List the invitations that can be used, oldest first; for owners and admins of the team."""
    async with management_of(request).sessions() as session:
        (await standing_in(session, caller, team_id)).require("administer")
        found = await list_invitations(session, team_id)
    return InvitationsResponse(data=[_invitation(invitation) for invitation in found])


@invitations_router.post(
    "/teams/{team_id}/invitations", status_code=201, summary="Invite", responses={403: {}}
)
async def make(
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    body: Annotated[NewInvitation, Depends(BodyReader(NewInvitation))],
) -> NewInvitationResponse:
    """Make a link by which one user joins the team within seven days; for owners and admins.

    Nothing is sent: pass the link on yourself. The response is the only one with it. It stops
    working when whoever has made it may invite no more. Owners are invited by owners only.
    """
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require_over(body.role)
        invitation, secret = await invite(session, team_id, body.role, body.email, actor=actor)
    link = base_url(request) + path_of_invitation(secret)
    fields = _invitation(invitation).model_dump()
    return NewInvitationResponse.model_validate({**fields, "link": link, "secret": secret})


@invitations_router.delete(
    "/teams/{team_id}/invitations/{invitation_id}",
    summary="Withdraw an invitation",
    responses={403: {}},
)
async def take_back(
    request: Request, caller: Managing, actor: Acting, team_id: Number, invitation_id: Number
) -> InvitationResponse:
    """Withdraw an invitation, whose link stops working; for owners and admins of the team."""
    async with management_of(request).sessions.begin() as session:
        (await acting_in(session, caller, team_id)).require("administer")
        invitation = await withdraw(session, team_id, invitation_id, actor=actor)
    return _invitation(invitation)


@invitations_router.post(
    "/invitations/accept", summary="Accept an invitation", responses={403: {}, 404: {}, 429: {}}
)
async def join(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[UsedInvitation, Depends(BodyReader(UsedInvitation))],
) -> JoinedResponse:
    """Join the team of an invitation, which cannot be used again.

    A wrong one, one that was used or has expired, and one for another user are all not found (404);
    many of them from one address are slowed down (429).
    """
    sessions, address = management_of(request).sessions, address_of(request)
    secret = body.secret.get_secret_value()
    try:
        member = await accept(sessions, secret, user_of(caller), address, actor=actor)
    except TooSoon as refused:
        reason = "Too many wrong invitations came from your address"
        raise TooManyAttempts(refused.retry_after_s, reason) from None
    return JoinedResponse(team_id=member.team_id, role=member.role)


def _invitation(invitation: InvitationRow) -> InvitationResponse:
    return InvitationResponse.model_validate(invitation, from_attributes=True)
