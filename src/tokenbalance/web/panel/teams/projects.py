"""The projects of a team: create, rename, archive, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.people.teams.errors import InvalidProject, InvalidTeamName, TooManyInTeam
from tokenbalance.people.teams.projects import (
    ProjectChanges,
    change_project,
    create_project,
    list_projects,
)
from tokenbalance.web.panel.forms import WHOLE, Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import act, find_here, path_of, render_team, route

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


async def show(visit: Visit) -> Response:
    """List the projects."""
    return await _page(visit, Form())


async def create(visit: Visit) -> Response:
    """Create a project."""
    form = visit.form
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "administer")
            name = form.typed("project-name")
            _ = await create_project(session, standing.team_id, name, actor=visit.actor)
    except (InvalidTeamName, InvalidProject) as error:
        form.refuse("project-name", str(error))
    except TooManyInTeam as error:
        form.refuse(WHOLE, str(error))
    else:
        return go_to(_path(visit), visit, Notice.PROJECT_CREATED)
    return await _page(visit, form)


async def rename(visit: Visit) -> Response:
    """Give a project another name."""
    name = visit.form.typed("new-name")
    return await _change(visit, ProjectChanges(name=name), Notice.PROJECT_RENAMED)


async def archive(visit: Visit) -> Response:
    """Archive a project."""
    return await _change(visit, ProjectChanges(archived=True), Notice.PROJECT_ARCHIVED)


async def restore(visit: Visit) -> Response:
    """Restore an archived project."""
    return await _change(visit, ProjectChanges(archived=False), Notice.PROJECT_RESTORED)


async def _change(visit: Visit, changes: ProjectChanges, notice: Notice) -> Response:
    try:
        async with visit.management.sessions.begin() as session:
            standing = await act(session, visit, "administer")
            _ = await change_project(
                session,
                standing.team_id,
                visit.number("project_id"),
                by_superuser=standing.is_superuser,
                actor=visit.actor,
                **changes,
            )
    except (InvalidTeamName, InvalidProject) as error:
        visit.form.refuse(WHOLE, str(error))
        return await _page(visit, visit.form)
    return go_to(_path(visit), visit, notice)


async def _page(visit: Visit, form: Form) -> Response:
    async with visit.management.sessions() as session:
        here = await find_here(session, visit)
        projects = await list_projects(session, here.team.id)
    return render_team(visit, "projects", here, form, projects=projects)


def _path(visit: Visit) -> str:
    return f"{path_of(visit)}/projects"


ROUTES: Final = (
    route("/projects", get=show, post=create),
    route("/projects/{project_id}/rename", post=rename),
    route("/projects/{project_id}/archive", post=archive),
    route("/projects/{project_id}/restore", post=restore),
)
