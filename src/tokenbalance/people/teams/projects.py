"""Projects of teams: create, change, list. Works in the caller's transaction and never commits.

A project groups keys, limits what they use together, and is archived rather than deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict

from sqlalchemy import func, select

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Project
from tokenbalance.model.limits import subject_of_project
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.limit_rows import renew_versions, store_limits
from tokenbalance.people.teams.errors import InvalidProject, TooManyInTeam, UnknownProject
from tokenbalance.people.teams.rows import project_row
from tokenbalance.people.teams.suspensions import renew_suspensions
from tokenbalance.people.teams.teams import clean_team_name, lock_team
from tokenbalance.people.traces import record_project

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.limits import LimitChanges
    from tokenbalance.people.teams.rows import ProjectRow

PROJECTS_MAX: Final = 200
"""Of one team, archived ones too."""
_NOT_LIMITED: Final[LimitChanges] = {}


class ProjectChanges(TypedDict, total=False):
    """Changes of a project; a missing field stays as it is."""

    name: str
    archived: bool
    """True: its keys are suspended, until it is false again."""
    limits: LimitChanges
    """The others stay as they are."""


async def create_project(  # noqa: PLR0913 - the fields of a project, by name
    session: AsyncSession,
    team_id: int,
    name: str,
    limits: LimitChanges = _NOT_LIMITED,
    *,
    by_superuser: bool = False,
    actor: Actor,
) -> ProjectRow:
    """Create a project without keys.

    Args:
        session: the caller's transaction.
        team_id: which team.
        name: what it is called; no other project of the team has the same.
        limits: of all its keys together; None for no limit.
        by_superuser: only superusers loosen these limits.
        actor: who creates it, to be recorded.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.
        InvalidTeamName, InvalidProject: the name is not acceptable, or in use.
        TooManyInTeam: the team has as many projects as it may have.

    """
    _ = await lock_team(session, team_id)
    counting = select(func.count()).where(Project.account_id == team_id)
    if (await session.scalar(counting) or 0) >= PROJECTS_MAX:
        msg = f"a team has at most {PROJECTS_MAX} projects, archived ones included: rename one"
        raise TooManyInTeam(msg)
    bounded = BoundedLimits().changed(limits, by_superuser=by_superuser)
    project = Project(
        account_id=team_id,
        name=await _free_name(session, team_id, name),
        limits=bounded.as_document(),
    )
    session.add(project)
    await session.flush()
    await session.refresh(project)
    created = project_row(project)
    await _store(session, created)
    record_project(session, actor, None, created)
    return created


async def change_project(
    session: AsyncSession,
    team_id: int,
    project_id: int,
    *,
    by_superuser: bool = False,
    actor: Actor,
    **changes: Unpack[ProjectChanges],
) -> ProjectRow:
    """Rename a project, archive it or take that back, or change its limits.

    Args:
        session: the caller's transaction.
        team_id: which team.
        project_id: which project of it.
        by_superuser: may loosen limits that a superuser has set.
        actor: who changes it, to be recorded.
        **changes: the new values.

    Raises:
        UnknownTeam, TeamClosed, UnknownProject: there is no such project.
        InvalidTeamName, InvalidProject: the name is not acceptable, or in use.
        InvalidLimit: a limit is looser than what a superuser has set.

    """
    _ = await lock_team(session, team_id)
    project = await _project(session, team_id, project_id)
    before = project_row(project)
    if "name" in changes:
        project.name = await _free_name(session, team_id, changes["name"], project.id)
    if "archived" in changes:
        archived_at = project.archived_at or datetime.now(UTC)
        project.archived_at = archived_at if changes["archived"] else None
    if "limits" in changes:
        bounded = before.bounded.changed(changes["limits"], by_superuser=by_superuser)
        project.limits = bounded.as_document()
    await session.flush()
    after = project_row(project)
    await _store(session, after)
    record_project(session, actor, before, after)
    return after


async def get_project(session: AsyncSession, team_id: int, project_id: int) -> ProjectRow:
    """Return a project, even an archived one.

    Raises:
        UnknownProject: the team has no such project.

    """
    return project_row(await _project(session, team_id, project_id))


async def list_projects(session: AsyncSession, team_id: int) -> Sequence[ProjectRow]:
    """Return the projects of a team by name, archived ones too."""
    query = select(Project).where(Project.account_id == team_id).order_by(func.lower(Project.name))
    return [project_row(project) for project in await session.scalars(query)]


async def _store(session: AsyncSession, project: ProjectRow) -> None:
    """Let a change of a project count for its keys."""
    limits = project.limits.as_document()
    await store_limits(session, project.team_id, subject_of_project(project.id), limits)
    await renew_suspensions(session, project.team_id)
    await renew_versions(session, project.team_id)


async def _project(session: AsyncSession, team_id: int, project_id: int) -> Project:
    # The column cannot even be compared with a larger number.
    number = project_id if 0 < project_id <= ID_MAX else 0
    one = select(Project).where(Project.account_id == team_id, Project.id == number)
    project = await session.scalar(one, execution_options={"populate_existing": True})
    if project is None:
        raise UnknownProject(project_id)
    return project


async def _free_name(
    session: AsyncSession, team_id: int, name: str, project_id: int | None = None
) -> str:
    """Return an acceptable name that no other project has."""
    name = clean_team_name(name)
    same = select(Project.id).where(
        Project.account_id == team_id, func.lower(Project.name) == func.lower(name)
    )
    if project_id is not None:
        same = same.where(Project.id != project_id)
    if await session.scalar(same) is not None:
        msg = "another project of this team has this name"
        raise InvalidProject(msg)
    return name
