"""`tokenbalance team project ...`: keys of a team that belong together, and what limits them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tokenbalance.cli.arguments import ACTOR, AsJson, Team
from tokenbalance.cli.database import transact
from tokenbalance.cli.output import print_json
from tokenbalance.cli.team_rows import print_projects, project_fields, report_project
from tokenbalance.people.limit_text import read_limits
from tokenbalance.people.teams import projects
from tokenbalance.people.teams.names import project_named, team_named
from tokenbalance.people.teams.projects import ProjectChanges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.people.teams.rows import ProjectRow

app = typer.Typer(name="project", help="Add, list, change and archive projects of a team.")

Project: TypeAlias = Annotated[str, typer.Argument(metavar="PROJECT", help="Its name or id.")]
Limits: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="A limit of all its keys together, such as credits_per_month=1000; none as the"
        " value: no limit. Repeat for several.",
    ),
]


@app.command("add")
def add(
    team: Team,
    name: Annotated[str, typer.Argument(metavar="NAME", help="No other of the team has it.")],
    *,
    limit: Limits = None,
    as_json: AsJson = False,
) -> None:
    """Add a project; keys are put into it when they are created: `key create --project`."""
    limits = read_limits(limit or ())

    async def work(session: AsyncSession) -> ProjectRow:
        team_id = (await team_named(session, team)).id
        return await projects.create_project(
            session, team_id, name, limits, by_superuser=True, actor=ACTOR
        )

    report_project(transact(work), "Project added", as_json=as_json)


@app.command("list")
def list_all(team: Team, *, as_json: AsJson = False) -> None:
    """List the projects of a team by name, archived ones too."""

    async def find(session: AsyncSession) -> Sequence[ProjectRow]:
        return await projects.list_projects(session, (await team_named(session, team)).id)

    found = transact(find)
    if as_json:
        print_json([project_fields(project) for project in found])
    else:
        print_projects(found)


@app.command("set")
def change(
    team: Team,
    project: Project,
    *,
    name: Annotated[str | None, typer.Option("--name", help="What it is called.")] = None,
    limit: Limits = None,
    as_json: AsJson = False,
) -> None:
    """Rename a project or change limits; the others stay. Budgets: `budget add --project`."""
    changes = ProjectChanges()
    if name is not None:
        changes["name"] = name
    if limit:
        changes["limits"] = read_limits(limit)
    if not changes:
        msg = "nothing to change: see --help"
        raise typer.BadParameter(msg)
    _change(team, project, changes, "Project changed", as_json=as_json)


@app.command("archive")
def archive(team: Team, project: Project, *, as_json: AsJson = False) -> None:
    """Archive a project and suspend its keys, at once."""
    _change(team, project, ProjectChanges(archived=True), "Project archived", as_json=as_json)


@app.command("restore")
def restore(team: Team, project: Project, *, as_json: AsJson = False) -> None:
    """Let an archived project, and its keys, be used again."""
    _change(team, project, ProjectChanges(archived=False), "Project restored", as_json=as_json)


def _change(team: str, project: str, changes: ProjectChanges, done: str, *, as_json: bool) -> None:
    async def work(session: AsyncSession) -> ProjectRow:
        found = await project_named(session, await team_named(session, team), project)
        return await projects.change_project(
            session, found.team_id, found.id, by_superuser=True, actor=ACTOR, **changes
        )

    report_project(transact(work), done, as_json=as_json)
