"""What the caller is in a team: looked up for each request, so that a change counts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.people.access import Standing, sees_everything
from tokenbalance.people.teams.errors import UnknownTeam
from tokenbalance.people.teams.members import find_member
from tokenbalance.people.teams.teams import get_team, lock_team

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Caller


async def standing_in(session: AsyncSession, caller: Caller, team_id: int) -> Standing:
    """Return what the caller is in a team.

    Raises:
        UnknownTeam: there is no such team, or the caller has nothing to do with it: is no member,
            is disabled in it, or is a key of a team.

    """
    team = await get_team(session, team_id)
    role = None
    if caller.user_id is not None and not caller.is_of_team:
        member = await find_member(session, team.id, caller.user_id)
        if member is not None and member.disabled_at is None:
            role = member.role
    superuser = sees_everything(caller)
    if role is None and not superuser:
        raise UnknownTeam(team_id)
    return Standing(team.id, caller.user_id, role, superuser)


async def acting_in(session: AsyncSession, caller: Caller, team_id: int) -> Standing:
    """Lock a team for a change, and return what the caller is in it until the transaction ends.

    Raises:
        UnknownTeam: as `standing_in`.
        TeamClosed: it was deleted.

    """
    # A stranger neither locks a team nor learns that it was deleted.
    _ = await standing_in(session, caller, team_id)
    _ = await lock_team(session, team_id)
    return await standing_in(session, caller, team_id)
