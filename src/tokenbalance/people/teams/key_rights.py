"""Who may do what to a key: its user, and in a team its member, or whoever administers the team.

A key that the caller may not see is "not found", as one that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.errors import NotAllowed
from tokenbalance.people.access import sees_everything
from tokenbalance.people.key_errors import UnknownKey
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.teams.errors import ProjectArchived, UnknownTeam, ViewersHaveNoKeys
from tokenbalance.people.teams.members import get_member
from tokenbalance.people.teams.projects import get_project
from tokenbalance.people.teams.standing import acting_in, standing_in

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor, Caller
    from tokenbalance.people.access import Standing
    from tokenbalance.people.rows import KeyRow


@dataclass(frozen=True, slots=True)
class KeyRight:
    """What the caller may do to a key, which may be changed."""

    account_id: int
    """Whose key it is."""
    team_id: int | None
    """The same if that is a team."""
    actor: Actor
    """Who changes it, to be recorded."""
    may_limit: bool = True
    """Whether the caller may change its limits as well."""

    def require_may_limit(self) -> None:
        """Require that the caller may change its limits.

        Raises:
            NotAllowed: the caller may not.

        """
        if not self.may_limit:
            msg = "Limits of keys of a team are changed by its owners and admins."
            raise NotAllowed(msg)


async def seen_key(session: AsyncSession, caller: Caller, key_id: int) -> KeyRow:
    """Return a key that the caller may see.

    Raises:
        UnknownKey: there is no such key, or the caller may not see it.

    """
    key = await get_key(session, key_id, None)
    if caller.is_of_team:
        is_seen = key.id == caller.key_id
    elif sees_everything(caller) or key.account_id == caller.account_id:
        is_seen = True
    else:
        try:
            standing = await standing_in(session, caller, key.account_id)
        except UnknownTeam:
            raise UnknownKey(key_id) from None
        is_seen = standing.may("see_all") or key.user_id == caller.user_id
    if not is_seen:
        raise UnknownKey(key_id)
    return key


async def right_over_key(
    session: AsyncSession, caller: Caller, key_id: int, actor: Actor
) -> KeyRight:
    """Return what the caller may do to a key.

    If it is a team's, the team is locked until the transaction ends.

    Raises:
        UnknownKey: there is no such key, or the caller may not change it.
        TeamClosed: it is a key of a team that was deleted.

    """
    key = await get_key(session, key_id, None)
    if key.account_id == caller.account_id and not caller.is_of_team:
        return KeyRight(key.account_id, None, actor)
    try:
        standing = await acting_in(session, caller, key.account_id)
    except UnknownTeam:
        if not sees_everything(caller):
            raise UnknownKey(key_id) from None
        return KeyRight(key.account_id, None, actor)
    administers = standing.may("administer")
    if not administers and not (key.user_id == caller.user_id and standing.may("have_keys")):
        raise UnknownKey(key_id)
    return KeyRight(key.account_id, key.account_id, actor.for_team, administers)


async def require_bearer(
    session: AsyncSession, standing: Standing, user_id: int | None, project_id: int | None
) -> None:
    """Require that the caller may make a key of a team for this member and project.

    The team must be locked.

    Args:
        session: the caller's transaction.
        standing: what the caller is in the team.
        user_id: the member who would answer for the key; None: nobody, it is a service key.
        project_id: the project of the key; None: none.

    Raises:
        NotAllowed: the caller may make no such key.
        UnknownMember, UnknownProject: there is no such member or project.
        ViewersHaveNoKeys, ProjectArchived: the key would be suspended at once.

    """
    is_own = user_id is not None and user_id == standing.user_id
    standing.require("have_keys" if is_own else "administer")
    if user_id is not None:
        member = await get_member(session, standing.team_id, user_id)
        if member.role == "viewer":
            raise ViewersHaveNoKeys
    if project_id is not None:
        project = await get_project(session, standing.team_id, project_id)
        if project.archived_at is not None:
            raise ProjectArchived
