"""Teams: create, list, rename, close."""

from datetime import datetime
from typing import Annotated, ClassVar, Final

from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field

from tokenbalance.books.grants.due import enter_some_due
from tokenbalance.model import Json
from tokenbalance.people.access import require_superuser, user_of
from tokenbalance.people.emails import EMAIL_CHARS_MAX
from tokenbalance.people.teams.rows import ListedTeam, TeamRole, TeamRow
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.people.teams.teams import (
    NAME_CHARS_MAX,
    change_team,
    close_team,
    create_team,
    get_team,
    teams_page,
)
from tokenbalance.people.users import find_user
from tokenbalance.web.api.bodies import Body, BodyReader, ChangesBody
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import FIRST_PAGE, Cursor, Limit, Number, Text
from tokenbalance.web.api.limit_bodies import LIMITS_EXAMPLE, LimitsShown
from tokenbalance.web.api.responses import (
    FUNDS_EXAMPLE,
    PageResponse,
    example,
    page_response,
)
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

teams_router = api_router("Teams")

_NAME: Final = f"1 to {NAME_CHARS_MAX} characters."
_ZONE: Final = "IANA name, such as `Europe/Berlin`: where its days, weeks and months begin."
_TEAM_EXAMPLE: Final[dict[str, Json]] = {
    "id": 12,
    "name": "Physics",
    "role": "owner",
    "time_zone": "Europe/Berlin",
    "created_at": "2030-01-31T12:00:00Z",
    "closed_at": None,
    **FUNDS_EXAMPLE,
    **LIMITS_EXAMPLE,
}


class NewTeam(Body):
    """A team to create."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"name": "Physics"}]}
    )

    name: str = Field(description=f"{_NAME} Other teams may have the same.")
    owner: str | None = Field(
        default=None,
        max_length=EMAIL_CHARS_MAX,
        description="The e-mail of the user who owns it; defaults to you. Superusers only.",
    )


class ChangedTeam(ChangesBody):
    """Changes of a team. A missing field stays as it is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"name": "Physics", "time_zone": "Europe/Berlin"}]}
    )

    name: str = Field(default="", description=_NAME)
    time_zone: str = Field(default="UTC", description=_ZONE)


class TeamResponse(LimitsShown):
    """A team with its balance, and what limits all its keys together."""

    model_config: ClassVar[ConfigDict] = example(**_TEAM_EXAMPLE)

    id: int
    """Of its account as well."""
    name: str
    role: TeamRole | None
    """What you are in it; null: no member."""
    time_zone: str
    """IANA name: where its days, weeks and months begin."""
    created_at: datetime
    closed_at: datetime | None
    """When it was deleted; null: it was not."""
    balance: int
    held: int
    available: int


@teams_router.post("/teams", status_code=201, summary="Create a team", responses={403: {}, 404: {}})
async def create(
    request: Request,
    caller: Managing,
    actor: Acting,
    body: Annotated[NewTeam, Depends(BodyReader(NewTeam))],
) -> TeamResponse:
    """Create a team, whose owner you are, with a balance of 0.

    A superuser may name another owner by e-mail. Other users own a limited number of teams.
    """
    user_id = user_of(caller)
    async with management_of(request).sessions.begin() as session:
        owner_id = user_id
        if body.owner is not None:
            require_superuser(caller)
            owner_id = (await find_user(session, body.owner)).id
        team = await create_team(session, body.name, owner_id, actor=actor)
    return _team(team, "owner" if owner_id == user_id else None)


@teams_router.get("/teams", summary="List teams", responses={403: {}})
async def list_teams(  # noqa: PLR0913, PLR0917 - what the query may say
    request: Request,
    caller: Authenticated,
    everybodys: Annotated[  # noqa: FBT002 - by its name, in the query
        bool,
        Query(alias="all", description="Those of others and deleted ones too: superusers only."),
    ] = False,
    search: Annotated[Text, Query(description="A part of the name, ignoring case.")] = "",
    limit: Limit = FIRST_PAGE,
    after: Cursor = None,
) -> PageResponse[TeamResponse]:
    """List the teams of which you are a member, or as a superuser all teams."""
    user_id = user_of(caller)
    if everybodys:
        require_superuser(caller)
    management = management_of(request)
    _ = await enter_some_due(management.pool)
    async with management.sessions() as session:
        page = await teams_page(session, user_id, search, after, limit, everybodys=everybodys)
    return page_response(page, _listed)


@teams_router.get("/teams/{team_id}", summary="A team")
async def team_of(request: Request, caller: Authenticated, team_id: Number) -> TeamResponse:
    """Return a team of which you are a member. Superusers find every team."""
    management = management_of(request)
    _ = await enter_some_due(management.pool)
    async with management.sessions() as session:
        standing = await standing_in(session, caller, team_id)
        return _team(await get_team(session, team_id), standing.role)


@teams_router.patch("/teams/{team_id}", summary="Change a team", responses={403: {}})
async def change(
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    body: Annotated[ChangedTeam, Depends(BodyReader(ChangedTeam))],
) -> TeamResponse:
    """Rename a team, or change its time zone; for its owners.

    With another time zone, periods that have begun end as they would have.
    """
    given = body.model_fields_set
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require("own")
        team = await change_team(
            session,
            team_id,
            name=body.name if "name" in given else None,
            time_zone=body.time_zone if "time_zone" in given else None,
            actor=actor,
        )
    return _team(team, standing.role)


@teams_router.delete("/teams/{team_id}", summary="Delete a team", responses={403: {}})
async def close(request: Request, caller: Managing, actor: Acting, team_id: Number) -> TeamResponse:
    """Delete a team, permanently; for its owners. Its keys stop working at once.

    Its ledger stays, and its balance, which a superuser can transfer to another account.
    """
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require("own")
        team = await close_team(session, team_id, actor=actor)
    return _team(team, standing.role)


def _listed(listed: ListedTeam) -> TeamResponse:
    return _team(listed.team, listed.role)


def _team(team: TeamRow, role: TeamRole | None) -> TeamResponse:
    return TeamResponse.model_validate(
        {
            "id": team.id,
            "name": team.name,
            "role": role,
            "time_zone": team.time_zone,
            "created_at": team.created_at,
            "closed_at": team.closed_at,
            "balance": team.balance,
            "held": team.held,
            "available": team.available,
            **team.limits.as_document(),
        }
    )
