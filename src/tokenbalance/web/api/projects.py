"""Projects of a team: list, create, change, archive."""

from datetime import datetime
from typing import Annotated, ClassVar, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from tokenbalance.model import Json
from tokenbalance.people.teams.projects import (
    ProjectChanges,
    change_project,
    create_project,
    list_projects,
)
from tokenbalance.people.teams.rows import ProjectRow
from tokenbalance.people.teams.standing import acting_in, standing_in
from tokenbalance.people.teams.teams import NAME_CHARS_MAX
from tokenbalance.web.api.bodies import BodyReader, ChangesBody
from tokenbalance.web.api.callers import Acting, Authenticated, Managing
from tokenbalance.web.api.fields import Number
from tokenbalance.web.api.limit_bodies import LIMITS_EXAMPLE, LimitsBody, LimitsShown
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import management_of

projects_router = api_router("Teams")

_NAME: Final = f"1 to {NAME_CHARS_MAX} characters; no other project of the team has it."
_PROJECT_EXAMPLE: Final[dict[str, Json]] = {
    "id": 3,
    "name": "Optics",
    "created_at": "2030-01-31T12:00:00Z",
    "archived_at": None,
    **LIMITS_EXAMPLE,
}


class NewProject(LimitsBody):
    """A project to create. The limits are those of all its keys together."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"name": "Optics", "credits_per_month": 200_000}]}
    )

    name: str = Field(description=_NAME)


class ChangedProject(LimitsBody, ChangesBody):
    """Changes of a project. A missing field stays as it is."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"archived": True}]}
    )

    name: str = Field(default="", description=_NAME)
    archived: bool = Field(
        default=False, description="Whether its keys are suspended until it is false again."
    )

    def changes(self) -> ProjectChanges:
        """Return the given fields only.

        Raises:
            InvalidLimit: a limit is not valid.

        """
        changes = ProjectChanges()
        if "name" in self.model_fields_set:
            changes["name"] = self.name
        if "archived" in self.model_fields_set:
            changes["archived"] = self.archived
        limits = self.limit_changes()
        if limits:
            changes["limits"] = limits
        return changes


class ProjectResponse(LimitsShown):
    """A project of a team, and what limits all its keys together."""

    model_config: ClassVar[ConfigDict] = example(**_PROJECT_EXAMPLE)

    id: int
    name: str
    created_at: datetime
    archived_at: datetime | None
    """Since when its keys are suspended; null: they are not."""


class ProjectsResponse(BaseModel):
    """All projects of a team."""

    model_config: ClassVar[ConfigDict] = example(data=[_PROJECT_EXAMPLE])

    data: list[ProjectResponse]


@projects_router.get("/teams/{team_id}/projects", summary="List projects")
async def projects_of(request: Request, caller: Authenticated, team_id: Number) -> ProjectsResponse:
    """List the projects of a team of which you are a member, by name, archived ones too."""
    async with management_of(request).sessions() as session:
        _ = await standing_in(session, caller, team_id)
        projects = await list_projects(session, team_id)
    return ProjectsResponse(data=[_project(project) for project in projects])


@projects_router.post(
    "/teams/{team_id}/projects", status_code=201, summary="Create a project", responses={403: {}}
)
async def create(
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    body: Annotated[NewProject, Depends(BodyReader(NewProject))],
) -> ProjectResponse:
    """Create a project, to which keys of the team may belong; for its owners and admins.

    Limits that a superuser sets can be loosened only by a superuser.
    """
    limits = body.limit_changes()
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require("administer")
        superuser = standing.is_superuser
        project = await create_project(
            session, team_id, body.name, limits, by_superuser=superuser, actor=actor
        )
    return _project(project)


@projects_router.patch(
    "/teams/{team_id}/projects/{project_id}", summary="Change a project", responses={403: {}}
)
async def change(  # noqa: PLR0913, PLR0917 - what the path, the key and the body say
    request: Request,
    caller: Managing,
    actor: Acting,
    team_id: Number,
    project_id: Number,
    body: Annotated[ChangedProject, Depends(BodyReader(ChangedProject))],
) -> ProjectResponse:
    """Rename a project, change its limits, archive it or take that back; for owners and admins."""
    changes = body.changes()
    async with management_of(request).sessions.begin() as session:
        standing = await acting_in(session, caller, team_id)
        standing.require("administer")
        superuser = standing.is_superuser
        project = await change_project(
            session, team_id, project_id, by_superuser=superuser, actor=actor, **changes
        )
    return _project(project)


def _project(project: ProjectRow) -> ProjectResponse:
    return ProjectResponse.model_validate(
        {
            "id": project.id,
            "name": project.name,
            "created_at": project.created_at,
            "archived_at": project.archived_at,
            **project.limits.as_document(),
        }
    )
