"""Teams: create, find, list. Works in the caller's transaction and never commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.tables import Account, Membership
from tokenbalance.people.teams.errors import InvalidTeamName, TeamClosed, UnknownTeam
from tokenbalance.people.teams.rows import TeamRow, team_row
from tokenbalance.people.traces import record_new_team

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor

NAME_CHARS_MAX: Final = 100


async def create_team(
    session: AsyncSession, name: str, owner_id: int | None, *, actor: Actor
) -> TeamRow:
    """Create a team with an empty account.

    Args:
        session: the caller's transaction.
        name: what it is called; others may have the same.
        owner_id: the user who owns it; None: nobody yet, superusers add members.
        actor: who creates it, to be recorded.

    Raises:
        InvalidTeamName: the name is not acceptable.

    """
    account = Account(kind="team", name=clean_team_name(name), balance=0, held=0, overdraft=0)
    session.add(account)
    await session.flush()
    await session.refresh(account)
    if owner_id is not None:
        session.add(Membership(account_id=account.id, user_id=owner_id, role="owner"))
        await session.flush()
    team = team_row(account)
    record_new_team(session, actor, team, owner_id)
    return team


async def get_team(session: AsyncSession, team_id: int) -> TeamRow:
    """Return a team, even a closed one.

    Raises:
        UnknownTeam: no team has this id.

    """
    return team_row(await _team(session, team_id))


async def lock_team(session: AsyncSession, team_id: int) -> Account:
    """Lock a team for a change of who and what belongs to it; for `people` only.

    Raises:
        UnknownTeam: no team has this id.
        TeamClosed: it was deleted.

    """
    team = await _team(session, team_id, locked=True)
    if team.closed_at is not None:
        raise TeamClosed(team_id)
    return team


def clean_team_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidTeamName: it is empty, too long, or has control characters.

    """
    name = name.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        msg = f"a name must have 1 to {NAME_CHARS_MAX} characters and no control characters"
        raise InvalidTeamName(msg)
    return name


async def _team(session: AsyncSession, team_id: int, *, locked: bool = False) -> Account:
    # The column cannot even be compared with a larger number.
    number = team_id if 0 < team_id <= ID_MAX else 0
    one = select(Account).where(Account.id == number, Account.kind == "team")
    if locked:
        one = one.with_for_update(key_share=True)
    team = await session.scalar(one, execution_options={"populate_existing": True})
    if team is None:
        raise UnknownTeam(team_id)
    return team
