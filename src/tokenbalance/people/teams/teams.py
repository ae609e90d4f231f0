"""Teams: create, change, close, find, list. Works in the caller's transaction and never commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import and_, delete, func, select

from tokenbalance.database.ids import ID_MAX
from tokenbalance.database.paging import Page, page_of, read_cursor
from tokenbalance.database.search import has_text
from tokenbalance.database.tables import Account, Invitation, Membership
from tokenbalance.people.account_limits import known_time_zone
from tokenbalance.people.teams.errors import (
    InvalidTeamName,
    TeamClosed,
    TooManyInTeam,
    UnknownTeam,
)
from tokenbalance.people.teams.rows import ListedTeam, TeamRow, team_row
from tokenbalance.people.teams.suspensions import renew_suspensions
from tokenbalance.people.traces import record_new_team, record_team
from tokenbalance.people.users import lock_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Actor
    from tokenbalance.people.teams.rows import TeamRole

NAME_CHARS_MAX: Final = 100
OWNED_MAX: Final = 20
"""Teams that one user may own who creates them without being a superuser."""


async def create_team(
    session: AsyncSession, name: str, owner_id: int | None, *, actor: Actor
) -> TeamRow:
    """Create a team with an empty account.

    Args:
        session: the caller's transaction.
        name: what it is called; others may have the same.
        owner_id: the user who owns it; None: nobody yet, superusers add members.
        actor: who creates it, to be recorded; if it is no superuser, the owner.

    Raises:
        InvalidTeamName: the name is not acceptable.
        TooManyInTeam: the owner has as many teams as an ordinary user may have.

    """
    if owner_id is not None and not actor.is_privileged:
        await _require_room(session, owner_id)
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


async def change_team(
    session: AsyncSession,
    team_id: int,
    *,
    name: str | None = None,
    time_zone: str | None = None,
    actor: Actor,
) -> TeamRow:
    """Rename a team, or change where its days begin. None leaves a value as it is.

    With another time zone, windows that have begun end as they would have; the next are of the new.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.
        InvalidTeamName, InvalidLimit: a value is not acceptable.

    """
    account = await lock_team(session, team_id)
    before = team_row(account)
    if name is not None:
        account.name = clean_team_name(name)
    if time_zone is not None:
        account.time_zone = known_time_zone(time_zone)
    await session.flush()
    after = team_row(account)
    record_team(session, actor, before, after)
    return after


async def close_team(session: AsyncSession, team_id: int, *, actor: Actor) -> TeamRow:
    """Close a team for ever: its keys stop at once, and nobody can join it.

    Its balance and its ledger stay. Requests in flight are settled as usual.

    Raises:
        UnknownTeam, TeamClosed: there is no such team.

    """
    account = await lock_team(session, team_id)
    before = team_row(account)
    account.closed_at = func.now()
    await session.flush()
    await session.refresh(account)
    _ = await session.execute(delete(Invitation).where(Invitation.account_id == team_id))
    await renew_suspensions(session, team_id)
    after = team_row(account)
    record_team(session, actor, before, after)
    return after


async def teams_page(  # noqa: PLR0913 - which page of what, as for each list
    session: AsyncSession,
    user_id: int | None,
    search: str,
    after: str | None,
    limit: int,
    *,
    everybodys: bool = False,
) -> Page[ListedTeam]:
    """Return a page of the teams of a user, in the order of creation.

    Args:
        session: the caller's transaction.
        user_id: who asks; None: the operator.
        search: a part of the name, ignoring case; empty for every team.
        after: the `next` of the previous page; None for the first page.
        limit: rows at most.
        everybodys: all teams, closed ones and those of others too.

    Raises:
        InvalidCursor: `after` is not a cursor of this list.

    """
    query = (_all if everybodys else _own)(user_id).order_by(Account.id).limit(limit + 1)
    if after is not None:
        (last_id,) = read_cursor(after, (int,))
        query = query.where(Account.id > last_id)
    search = search.strip()
    # Neither text that Postgres cannot hold nor text longer than the column is worth a query.
    if not search.isprintable() or len(search) > NAME_CHARS_MAX:
        return Page([], None)
    if search:
        query = query.where(has_text(Account.name, search))
    return page_of(await _listed(session, query), limit, lambda listed: (listed.team.id,))


async def teams_of_user(session: AsyncSession, user_id: int) -> Sequence[ListedTeam]:
    """Return the teams of which a user is a member, by name; not those that were closed."""
    return await _listed(session, _own(user_id).order_by(func.lower(Account.name), Account.id))


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
    """Return the name of a team or a project without surrounding space.

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


async def _require_room(session: AsyncSession, owner_id: int) -> None:
    _ = await lock_record(session, owner_id)
    counting = (
        select(func.count())
        .select_from(Membership)
        .join(Account, Account.id == Membership.account_id)
        .where(
            Membership.user_id == owner_id,
            Membership.role == "owner",
            Account.closed_at.is_(None),
        )
    )
    if (await session.scalar(counting) or 0) >= OWNED_MAX:
        msg = f"a user may own at most {OWNED_MAX} teams: delete one, or ask a superuser"
        raise TooManyInTeam(msg)


def _own(user_id: int | None) -> Select[Account, str]:
    is_member = and_(Membership.account_id == Account.id, Membership.user_id == user_id)
    return (
        select(Account, Membership.role)
        .join(Membership, is_member)
        .where(Account.closed_at.is_(None), Membership.disabled_at.is_(None))
    )


def _all(user_id: int | None) -> Select[Account, str]:
    is_member = and_(Membership.account_id == Account.id, Membership.user_id == user_id)
    query = select(Account, Membership.role).outerjoin(Membership, is_member)
    return query.where(Account.kind == "team")


async def _listed(session: AsyncSession, query: Select[Account, str]) -> Sequence[ListedTeam]:
    rows = await session.execute(query)
    return [ListedTeam(team_row(account), cast("TeamRole | None", role)) for account, role in rows]
