"""Which part of an account a limit or a budget is for: all of it, or a part of a team.

--team TEAM                      all keys of the team together
--team TEAM --member EMAIL       all of the member's keys of the team together
--team TEAM --project PROJECT    all keys of the project together
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tokenbalance.cli.payers import find_payer
from tokenbalance.people.teams.names import member_named, project_named

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.cli.payers import Payer
    from tokenbalance.people.teams.rows import MemberRow, ProjectRow

OfMember: TypeAlias = Annotated[
    str | None,
    typer.Option("--member", metavar="EMAIL", help="Only of this member's keys of the team."),
]
OfProject: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="PROJECT",
        help="Only of the keys of this project of the team: its id or name.",
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options name; checked before the database is opened.

    Raises:
        typer.BadParameter: they exclude each other, or need `--team`.

    """

    email: str
    team: str | None
    member: str | None
    project: str | None
    key_id: int | None = None

    def __post_init__(self) -> None:
        """Check it."""
        named = [one for one in (self.member, self.project, self.key_id) if one is not None]
        if len(named) > 1:
            msg = "--key, --member and --project exclude each other"
            raise typer.BadParameter(msg)
        if self.team is None and (self.member is not None or self.project is not None):
            msg = "--member and --project are of a team: --team is missing"
            raise typer.BadParameter(msg)


@dataclass(frozen=True, slots=True)
class Subject:
    """What was found."""

    payer: Payer
    member: MemberRow | None
    project: ProjectRow | None


async def find_subject(session: AsyncSession, wanted: Wanted) -> Subject:
    """Find the account, and the member or project of it.

    Raises:
        UnknownUser, TeamError: there is no such user, team, member or project.

    """
    payer = await find_payer(session, wanted.email, wanted.team)
    member = project = None
    if payer.team is not None and wanted.member is not None:
        member = await member_named(session, payer.team, wanted.member)
    if payer.team is not None and wanted.project is not None:
        project = await project_named(session, payer.team, wanted.project)
    return Subject(payer, member, project)
