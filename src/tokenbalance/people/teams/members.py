"""Members of teams: add, find, list. Works in the caller's transaction and never commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from tokenbalance.database.tables import Membership, User
from tokenbalance.people.limit_rows import renew_versions
from tokenbalance.people.teams.errors import AlreadyMember, UnknownMember
from tokenbalance.people.teams.rows import MemberRow, TeamRole, member_row
from tokenbalance.people.teams.suspensions import renew_suspensions
from tokenbalance.people.teams.teams import lock_team
from tokenbalance.people.traces import record_member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor


async def add_member(
    session: AsyncSession, team_id: int, user_id: int, role: TeamRole, *, actor: Actor
) -> MemberRow:
    """Let a user belong to a team.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.
        AlreadyMember: the user is a member of it.

    """
    _ = await lock_team(session, team_id)
    if await _find(session, team_id, user_id) is not None:
        msg = "this user is a member of the team already"
        raise AlreadyMember(msg)
    session.add(Membership(account_id=team_id, user_id=user_id, role=role))
    await session.flush()
    await renew_suspensions(session, team_id)
    await renew_versions(session, team_id)
    member = await get_member(session, team_id, user_id)
    record_member(session, actor, None, member)
    return member


async def get_member(session: AsyncSession, team_id: int, user_id: int) -> MemberRow:
    """Return a member.

    Raises:
        UnknownMember: the user is none.

    """
    member = await _find(session, team_id, user_id)
    if member is None:
        raise UnknownMember(user_id)
    return member


async def find_member(session: AsyncSession, team_id: int, user_id: int) -> MemberRow | None:
    """Return a member; None: the user is none."""
    return await _find(session, team_id, user_id)


async def list_members(session: AsyncSession, team_id: int) -> Sequence[MemberRow]:
    """Return the members of a team, by e-mail."""
    query = _members(team_id).order_by(func.lower(User.email))
    return [member_row(*row) for row in (await session.execute(query)).tuples()]


async def _find(session: AsyncSession, team_id: int, user_id: int) -> MemberRow | None:
    query = _members(team_id).where(Membership.user_id == user_id)
    fresh = {"populate_existing": True}
    row = (await session.execute(query, execution_options=fresh)).tuples().one_or_none()
    return None if row is None else member_row(*row)


def _members(team_id: int) -> Select[Membership, User]:
    return (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id == team_id)
    )
