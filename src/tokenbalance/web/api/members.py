"""Members of a team: list, add, change, remove; and leave it."""

from datetime import datetime
from typing import Annotated, ClassVar, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.database.connections import Session
from tokenbalance.errors import InvalidValue, NotFound
from tokenbalance.model import Json
from tokenbalance.people.emails import EMAIL_CHARS_MAX
from tokenbalance.people.teams.errors import AlreadyMember
from tokenbalance.people.teams.members import (
    MemberChanges,
    add_member,
    change_member,
    get_member,
    list_members,
    remove_member,
)
from tokenbalance.people.teams.rows import MemberRow, TeamRole
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.people.users import UnknownUser, find_user
from tokenbalance.web.api.bodies import BodyReader, ChangesBody
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import Number
from tokenbalance.web.api.limit_bodies import LIMITS_EXAMPLE, LimitsBody, LimitsShown
from tokenbalance.web.api.responses import PERSON_EXAMPLE, example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

members_router = api_router("Teams")

_ROLE: Final = (
    "`owner` (everything), `admin` (members but for owners, projects, keys, limits, invitations),"
    " `member` (own keys), or `viewer` (no keys, sees what everybody uses)."
)
_MEMBER_EXAMPLE: Final[dict[str, Json]] = {
    "user_id": 7,
    "email": PERSON_EXAMPLE["email"],
    "name": PERSON_EXAMPLE["name"],
    "role": "member",
    "is_active": True,
    "joined_at": "2030-01-31T12:00:00Z",
    **LIMITS_EXAMPLE,
}


class NewMember(LimitsBody):
    """A user to add. The limits are those of all the member's keys of the team together."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "examples": [
                {"email": "ada@example.com", "role": "member", "credits_per_month": 50_000}
            ]
        }
    )

    email: str = Field(
        max_length=EMAIL_CHARS_MAX, description="Of an active user; case is ignored."
    )
    role: TeamRole = Field(default="member", description=_ROLE)


class ChangedMember(LimitsBody, ChangesBody):
    """Changes of a member. A missing field stays as it is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"role": "admin"}]}
    )

    role: TeamRole = Field(default="member", description=_ROLE)
    is_active: bool = Field(
        default=True,
        description="Whether the member belongs to the team for now: if false, the member's keys of"
        " it are suspended, and the team is not found.",
    )

    def changes(self) -> MemberChanges:
        """Return the given fields only.

        Raises:
            InvalidLimit: a limit is not valid.

        """
        changes = MemberChanges()
        if "role" in self.model_fields_set:
            changes["role"] = self.role
        if "is_active" in self.model_fields_set:
            changes["is_active"] = self.is_active
        limits = self.limit_changes()
        if limits:
            changes["limits"] = limits
        return changes


class MemberResponse(LimitsShown):
    """A member of a team, and what limits all the member's keys of it together."""

    model_config: ClassVar[ConfigDict] = example(**_MEMBER_EXAMPLE)

    user_id: int
    email: str
    name: str
    role: TeamRole
    is_active: bool
    """Neither disabled in the team nor as a user."""
    joined_at: datetime


class MembersResponse(BaseModel):
    """All members of a team."""

    model_config: ClassVar[ConfigDict] = example(data=[_MEMBER_EXAMPLE])

    data: list[MemberResponse]


@members_router.get("/teams/{team_id}/members", summary="List members")
async def members_of(request: Request, caller: Authenticated, team_id: Number) -> MembersResponse:
    """List the members of a team of which you are one, by e-mail. Superusers find every team."""
    async with management_of(request).sessions() as session:
        _ = await standing_in(session, caller, team_id)
        members = await list_members(session, team_id)
    return MembersResponse(data=[_member(member) for member in members])


@members_router.post(
    "/teams/{team_id}/members", status_code=201, summary="Add a member", responses={403: {}}
)
async def add(
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    body: Annotated[NewMember, Depends(BodyReader(NewMember))],
) -> MemberResponse:
    """Add a user to a team at once; for its owners and admins, and owners only by owners.

    Whoever is no user yet is invited: `POST /api/teams/{team_id}/invitations`. Limits that a
    superuser sets can be loosened only by a superuser.
    """
    limits = body.limit_changes()
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require_over(body.role)
        user_id = await _user_with(session, body.email)
        try:
            member = await add_member(
                session,
                team_id,
                user_id,
                body.role,
                limits,
                by_superuser=standing.is_superuser,
                actor=actor,
            )
        except AlreadyMember:
            msg = "This user is a member of the team already."
            raise InvalidValue(msg, param="email") from None
    return _member(member)


@members_router.patch(
    "/teams/{team_id}/members/{user_id}", summary="Change a member", responses={403: {}}
)
async def change(  # noqa: PLR0913, PLR0917 - what the path, the key and the body say
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    user_id: Number,
    body: Annotated[ChangedMember, Depends(BodyReader(ChangedMember))],
) -> MemberResponse:
    """Change the role or the limits of a member, or disable the member in the team.

    For owners and admins of the team; owners are made and changed by owners only. The keys of a
    viewer are suspended. The last owner stays one (400).
    """
    changes = body.changes()
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require("administer")
        before = await get_member(session, team_id, user_id)
        standing.require_over(before.role, changes.get("role", before.role))
        member = await change_member(
            session,
            team_id,
            user_id,
            by_superuser=standing.is_superuser,
            actor=actor,
            **changes,
        )
    return _member(member)


@members_router.delete(
    "/teams/{team_id}/members/{user_id}", summary="Remove a member", responses={403: {}}
)
async def remove(
    request: Request, caller: Managing, actor: Acting, team_id: Number, user_id: Number
) -> MemberResponse:
    """Remove a member, or leave a team yourself; the member's keys of the team are revoked.

    Others are removed by owners and admins, owners by owners only. Service keys stay. The last
    owner cannot leave (400).
    """
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        if user_id != standing.user_id:
            standing.require("administer")
            standing.require_over((await get_member(session, team_id, user_id)).role)
        member = await remove_member(session, team_id, user_id, actor=actor)
    return _member(member)


async def _user_with(session: Session, email: str) -> int:
    """Find the active user with an e-mail.

    Raises:
        NotFound: there is none.

    """
    try:
        user = await find_user(session, email)
    except UnknownUser:
        user = None
    if user is None or not user.is_active:
        msg = f"No active user has the e-mail {email!a}: make an invitation."
        raise NotFound(msg, param="email")
    return user.id


def _member(member: MemberRow) -> MemberResponse:
    return MemberResponse.model_validate(
        {
            "user_id": member.user_id,
            "email": member.email,
            "name": member.name,
            "role": member.role,
            "is_active": member.is_active and member.disabled_at is None,
            "joined_at": member.joined_at,
            **member.limits.as_document(),
        }
    )
