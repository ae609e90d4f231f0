"""Finds what commands name in words: teams by a name, members by an e-mail, projects by a name.

Ids that are never shown to people would be of no use to them. Writes nothing.

TeamError
|-- AmbiguousTeam
|-- NoSuchMember
|-- NoSuchProject
`-- NoSuchTeam
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from tokenbalance.database.tables import Account
from tokenbalance.people.teams.errors import TeamError
from tokenbalance.people.teams.members import find_member
from tokenbalance.people.teams.projects import list_projects
from tokenbalance.people.teams.rows import team_row
from tokenbalance.people.teams.teams import get_team
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.people.teams.rows import MemberRow, ProjectRow, TeamRow


class NoSuchTeam(TeamError):
    """No team has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no team has the name {name!r}: `team list` shows them")


class AmbiguousTeam(TeamError):
    """Several teams have this name."""

    def __init__(self, name: str, teams: list[TeamRow]) -> None:
        ids = ", ".join(str(team.id) for team in teams)
        super().__init__(f"{len(teams)} teams have the name {name!r}: use one of the ids {ids}")


class NoSuchMember(TeamError):
    """The user is no member of the team."""

    def __init__(self, email: str, team: TeamRow) -> None:
        super().__init__(f"{email} is not a member of the team {team.name!r}")


class NoSuchProject(TeamError):
    """The team has no such project."""

    def __init__(self, name: str, team: TeamRow) -> None:
        super().__init__(f"the team {team.name!r} has no project {name!r}")


async def team_named(session: AsyncSession, text: str) -> TeamRow:
    """Return the team that has this id or, regardless of case, this name.

    A closed team has a name only as long as no open one has it.

    Raises:
        UnknownTeam, NoSuchTeam: there is none.
        AmbiguousTeam: several teams have this name.

    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return await get_team(session, int(text))
    query = (
        select(Account)
        .where(Account.kind == "team", func.lower(Account.name) == func.lower(text))
        .order_by(Account.id)
    )
    found = [team_row(account) for account in await session.scalars(query)]
    found = [team for team in found if team.closed_at is None] or found
    if not found:
        raise NoSuchTeam(text)
    if len(found) > 1:
        raise AmbiguousTeam(text, found)
    return found[0]


async def member_named(session: AsyncSession, team: TeamRow, email: str) -> MemberRow:
    """Return the member who has this e-mail, ignoring case.

    Raises:
        UnknownUser: no user has it.
        NoSuchMember: the user is no member of the team.

    """
    user = await find_user(session, email)
    member = await find_member(session, team.id, user.id)
    if member is None:
        raise NoSuchMember(user.email, team)
    return member


async def project_named(session: AsyncSession, team: TeamRow, text: str) -> ProjectRow:
    """Return the project of a team that has this name, ignoring case, or else this id.

    Raises:
        NoSuchProject: the team has no such project.

    """
    projects = await list_projects(session, team.id)
    wanted = text.strip().casefold()
    named = [one for one in projects if one.name.casefold() == wanted]
    found = named or [one for one in projects if str(one.id) == wanted]
    if not found:
        raise NoSuchProject(text, team)
    return found[0]
