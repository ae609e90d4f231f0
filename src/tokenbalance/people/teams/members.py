"""Members of teams: add, change, remove, list. Works in the caller's transaction, never commits.

Whoever leaves a team loses the own keys of it in the same transaction, and all that limits them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypedDict

from sqlalchemy import delete, func, select, update

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import ApiKey, Invitation, Limit, Membership, User
from tokenbalance.model.limits import subject_of_member
from tokenbalance.people.bounded_limits import BoundedLimits
from tokenbalance.people.key_families import end_families, lock_families
from tokenbalance.people.limit_rows import renew_versions, store_limits
from tokenbalance.people.teams.errors import (
    AlreadyMember,
    LastOwner,
    TooManyInTeam,
    UnknownMember,
)
from tokenbalance.people.teams.rows import MemberRow, TeamRole, member_row
from tokenbalance.people.teams.suspensions import renew_suspensions
from tokenbalance.people.teams.teams import lock_team
from tokenbalance.people.traces import record_member

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.limits import LimitChanges

MEMBERS_MAX: Final = 1000
"""Of one team."""
_NOT_LIMITED: Final[LimitChanges] = {}


class MemberChanges(TypedDict, total=False):
    """Changes of a member; a missing field stays as it is."""

    role: TeamRole
    is_active: bool
    """False: disabled in the team, so that the member's keys of it are suspended."""
    limits: LimitChanges
    """The others stay as they are."""


async def add_member(  # noqa: PLR0913 - the fields of a member, by name
    session: AsyncSession,
    team_id: int,
    user_id: int,
    role: TeamRole,
    limits: LimitChanges = _NOT_LIMITED,
    *,
    by_superuser: bool = False,
    actor: Actor,
) -> MemberRow:
    """Let a user belong to a team.

    Args:
        session: the caller's transaction.
        team_id: which team.
        user_id: which user, who exists.
        role: what the user is in it.
        limits: of all the member's keys of the team together; None for no limit.
        by_superuser: only superusers loosen these limits.
        actor: who adds the member, to be recorded.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.
        AlreadyMember: the user is a member of it.
        TooManyInTeam: it has as many members as a team may have.

    """
    _ = await lock_team(session, team_id)
    if await find_member(session, team_id, user_id) is not None:
        msg = "this user is a member of the team already"
        raise AlreadyMember(msg)
    await _require_room(session, team_id)
    bounded = BoundedLimits().changed(limits, by_superuser=by_superuser)
    session.add(
        Membership(account_id=team_id, user_id=user_id, role=role, limits=bounded.as_document())
    )
    await session.flush()
    member = await _renewed(session, team_id, user_id)
    record_member(session, actor, None, member)
    return member


async def change_member(
    session: AsyncSession,
    team_id: int,
    user_id: int,
    *,
    by_superuser: bool = False,
    actor: Actor,
    **changes: Unpack[MemberChanges],
) -> MemberRow:
    """Change the role of a member, disable or enable the member, or change limits.

    Args:
        session: the caller's transaction.
        team_id: which team.
        user_id: which member.
        by_superuser: may loosen limits that a superuser has set.
        actor: who changes it, to be recorded.
        **changes: the new values.

    Raises:
        UnknownTeam, TeamClosed, UnknownMember: there is no such member.
        LastOwner: the team would have no owner who can sign in.
        InvalidLimit: a limit is looser than what a superuser has set.

    """
    _ = await lock_team(session, team_id)
    before = await get_member(session, team_id, user_id)
    after = _changed(before, changes, by_superuser=by_superuser)
    await _keep_an_owner(session, before, after)
    await session.execute(
        update(Membership)
        .where(Membership.account_id == team_id, Membership.user_id == user_id)
        .values(role=after.role, disabled_at=after.disabled_at, limits=after.bounded.as_document()),
        execution_options={"synchronize_session": False},
    )
    await _withdraw_invitations(session, after, is_member=True)
    member = await _renewed(session, team_id, user_id)
    record_member(session, actor, before, member)
    return member


async def remove_member(
    session: AsyncSession, team_id: int, user_id: int, *, actor: Actor
) -> MemberRow:
    """Remove a member, who may be the actor, and revoke the member's keys of the team.

    Service keys stay. Requests in flight are settled as usual. Returns the member as it was.

    Raises:
        UnknownTeam, TeamClosed, UnknownMember: there is no such member.
        LastOwner: the team would have no owner who can sign in.

    """
    _ = await lock_team(session, team_id)
    member = await get_member(session, team_id, user_id)
    await _keep_an_owner(session, member, None)
    keys = select(ApiKey.id).where(ApiKey.account_id == team_id, ApiKey.user_id == user_id)
    await lock_families(session, keys)
    _ = await end_families(session, keys, actor.for_team)
    subject = subject_of_member(user_id)
    for rows in (
        delete(Membership).where(Membership.account_id == team_id, Membership.user_id == user_id),
        delete(Limit).where(Limit.account_id == team_id, Limit.subject == subject),
    ):
        await session.execute(rows, execution_options={"synchronize_session": False})
    await _withdraw_invitations(session, member, is_member=False)
    await renew_suspensions(session, team_id)
    await renew_versions(session, team_id)
    record_member(session, actor, member, None)
    return member


async def get_member(session: AsyncSession, team_id: int, user_id: int) -> MemberRow:
    """Return a member.

    Raises:
        UnknownMember: the user is none.

    """
    member = await find_member(session, team_id, user_id)
    if member is None:
        raise UnknownMember(user_id)
    return member


async def find_member(session: AsyncSession, team_id: int, user_id: int) -> MemberRow | None:
    """Return a member; None: the user is none."""
    # The column cannot even be compared with a larger number.
    number = user_id if 0 < user_id <= ID_MAX else 0
    query = _members(team_id).where(Membership.user_id == number)
    fresh = {"populate_existing": True}
    row = (await session.execute(query, execution_options=fresh)).one_or_none()
    return None if row is None else member_row(row[0], row[1])


async def list_members(session: AsyncSession, team_id: int) -> Sequence[MemberRow]:
    """Return the members of a team, by e-mail."""
    query = _members(team_id).order_by(func.lower(User.email))
    return [member_row(row[0], row[1]) for row in await session.execute(query)]


def _changed(before: MemberRow, changes: MemberChanges, *, by_superuser: bool) -> MemberRow:
    bounded = before.bounded
    if "limits" in changes:
        bounded = bounded.changed(changes["limits"], by_superuser=by_superuser)
    disabled_at = before.disabled_at
    if "is_active" in changes:
        disabled_at = None if changes["is_active"] else disabled_at or datetime.now(UTC)
    role = changes.get("role", before.role)
    return replace(before, role=role, disabled_at=disabled_at, bounded=bounded)


async def _renewed(session: AsyncSession, team_id: int, user_id: int) -> MemberRow:
    """Let a change of a member count for the member's keys, and read it."""
    member = await get_member(session, team_id, user_id)
    limits = member.limits.as_document()
    await store_limits(session, team_id, subject_of_member(user_id), limits)
    await renew_suspensions(session, team_id)
    await renew_versions(session, team_id)
    return member


async def _keep_an_owner(session: AsyncSession, before: MemberRow, after: MemberRow | None) -> None:
    if not before.acts_as_owner or (after is not None and after.acts_as_owner):
        return
    members = await list_members(session, before.team_id)
    if not any(one.acts_as_owner for one in members if one.user_id != before.user_id):
        raise LastOwner


async def _withdraw_invitations(
    session: AsyncSession, member: MemberRow, *, is_member: bool
) -> None:
    """Withdraw what the member could not offer any more: nobody comes back by an own invitation."""
    withdrawn = delete(Invitation).where(
        Invitation.account_id == member.team_id, Invitation.created_by == member.email
    )
    if is_member and member.disabled_at is None and member.role in {"admin", "owner"}:
        if member.role == "owner":
            return
        withdrawn = withdrawn.where(Invitation.role == "owner")
    await session.execute(withdrawn, execution_options={"synchronize_session": False})


async def _require_room(session: AsyncSession, team_id: int) -> None:
    counting = select(func.count()).where(Membership.account_id == team_id)
    if (await session.scalar(counting) or 0) >= MEMBERS_MAX:
        msg = f"a team has at most {MEMBERS_MAX:,} members: remove one first"
        raise TooManyInTeam(msg)


def _members(team_id: int) -> Select[Membership, User]:
    return (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.account_id == team_id)
    )
