"""Who pays for a new key and who answers for it, as the options of `key create` say.

EMAIL                      the user
EMAIL --team TEAM          the team pays, the member answers for the key
--team TEAM --service      the team pays, nobody answers for the key
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from tokenbalance.people.access import Standing
from tokenbalance.people.teams.errors import TeamClosed
from tokenbalance.people.teams.key_rights import require_bearer
from tokenbalance.people.teams.names import member_named, project_named, team_named
from tokenbalance.people.users import find_user

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class WantedOwner:
    """What the options name; checked before the database is opened.

    Raises:
        typer.BadParameter: one is missing, or is there without another.

    """

    email: str | None
    team: str | None
    project: str | None
    service: bool

    def __post_init__(self) -> None:
        """Check it."""
        if self.team is None and (self.project is not None or self.service):
            msg = "--project and --service are of a team: --team is missing"
            raise typer.BadParameter(msg)
        if self.service and self.email is not None:
            msg = "EMAIL and --service exclude each other"
            raise typer.BadParameter(msg)
        if self.email is None and not self.service:
            service = ", or --service" if self.team is not None else ""
            msg = f"EMAIL is missing: who answers for the key{service}"
            raise typer.BadParameter(msg)


@dataclass(frozen=True, slots=True)
class Owner:
    """What was found."""

    account_id: int
    team_id: int | None
    """The same if a team pays."""
    user_id: int | None
    project_id: int | None


async def find_owner(session: AsyncSession, wanted: WantedOwner) -> Owner:
    """Find the account, and the member and project of a team.

    Raises:
        UnknownUser, TeamError: there is no such user, team, member or project, or it can have no
            new key.

    """
    if wanted.team is None:
        user = await find_user(session, wanted.email or "")
        return Owner(user.account.id, None, user.id, None)
    team = await team_named(session, wanted.team)
    if team.closed_at is not None:
        raise TeamClosed(team.id)
    user_id = project_id = None
    if wanted.email is not None:
        user_id = (await member_named(session, team, wanted.email)).user_id
    if wanted.project is not None:
        project_id = (await project_named(session, team, wanted.project)).id
    operator = Standing(team.id, None, None, is_superuser=True)
    await require_bearer(session, operator, user_id, project_id)
    return Owner(team.id, team.id, user_id, project_id)
