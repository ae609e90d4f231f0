"""Teams with a member of each role, and keys that members answer for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.books import create_holder
from tokenbalance.books.ledger.credits import Cause, grant
from tokenbalance.model import CLI
from tokenbalance.people.keys import create_key
from tokenbalance.people.teams.members import add_member
from tokenbalance.people.teams.rows import ROLES
from tokenbalance.people.teams.teams import create_team

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.teams.rows import TeamRole


@dataclass(frozen=True, slots=True)
class Team:
    """A team and its members, by role."""

    id: int
    members: Mapping[TeamRole, Holder]

    @property
    def owner(self) -> Holder:
        """Its only owner."""
        return self.members["owner"]

    @property
    def admin(self) -> Holder:
        """Its only admin."""
        return self.members["admin"]

    @property
    def member(self) -> Holder:
        """Its only member without other rights."""
        return self.members["member"]

    @property
    def viewer(self) -> Holder:
        """Its only viewer."""
        return self.members["viewer"]


async def create_full_team(pool: Pool, sessions: Sessions, balance: int = 0) -> Team:
    """Create a team with a member of each role, each of whom has a key and nothing to spend."""
    members: dict[TeamRole, Holder] = {role: await create_holder(pool) for role in ROLES}
    async with sessions.begin() as session:
        team = await create_team(session, "Crew", None, actor=CLI)
        for role, holder in members.items():
            await add_member(session, team.id, holder.user_id, role, actor=CLI)
        if balance:
            await grant(session, team.id, balance, Cause(CLI, "a first grant"))
    return Team(team.id, members)


async def team_key(
    sessions: Sessions, team_id: int, user_id: int | None, project_id: int | None = None
) -> tuple[int, str]:
    """Make a key that a member answers for, or nobody; returns its id and its secret."""
    async with sessions.begin() as session:
        key, secret = await create_key(
            session, team_id, user_id=user_id, project_id=project_id, actor=CLI
        )
    return key.id, secret
