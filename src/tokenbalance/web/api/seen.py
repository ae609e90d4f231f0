"""What of an account a caller sees: everything, or what was done with some of its keys.

    who                                     sees
    a user, by a key or token of their own  the personal account
    a superuser                             also any other (`user_id`), and any team (`team_id`)
    a member who sees all of a team         the team (`team_id`)
    any other member                        what was done with their own keys of the team
    a key of a team                         what was done with it

A team of which the caller is no member is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.errors import InvalidValue
from tokenbalance.people.access import sees_everything, user_of
from tokenbalance.people.owned_keys import keys_of_member
from tokenbalance.people.teams.errors import UnknownTeam
from tokenbalance.people.teams.standing import standing_in
from tokenbalance.web.api.subjects import account_of

if TYPE_CHECKING:
    from tokenbalance.books.reports import RequestRow
    from tokenbalance.database.connections import Session
    from tokenbalance.model import Caller
    from tokenbalance.people.access import Standing, TeamRight


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an account is seen."""

    account_id: int
    key_ids: tuple[int, ...] | None = None
    """Only what was done with these keys; None: everything."""


async def seen_by(
    session: Session,
    caller: Caller,
    user_id: int | None,
    team_id: int | None,
    *,
    right: TeamRight = "see",
) -> Seen:
    """Find what a caller sees of a user's account, or of a team.

    Args:
        session: for look-ups.
        caller: who asks.
        user_id: the user whose account is asked for; None: the caller.
        team_id: the team that is asked for instead.
        right: what the caller must be allowed to do in the team.

    Raises:
        NotAllowed: an ordinary user names another user, or has not the right in the team.
        InvalidValue: both are named.
        UnknownUser: no user has this id.
        UnknownTeam: the caller has nothing to do with the team.

    """
    if team_id is None:
        account_id = await account_of(session, caller, user_id)
        return Seen(account_id, (caller.key_id,) if caller.is_of_team else None)
    if user_id is not None:
        msg = "Invalid 'team_id': leave it out, or 'user_id'."
        raise InvalidValue(msg, param="team_id")
    standing = await standing_in(session, caller, team_id)
    standing.require(right)
    if standing.may("see_all") or standing.user_id is None:
        return Seen(team_id)
    return Seen(team_id, await keys_of_member(session, team_id, standing.user_id))


async def whole_account(
    session: Session, caller: Caller, user_id: int | None, team_id: int | None, right: TeamRight
) -> int:
    """Find an account of which only everything is shown or changed; arguments as of `seen_by`.

    Raises:
        NotAllowed: also if the caller is a key of a team.
        InvalidValue, UnknownUser, UnknownTeam: as `seen_by`.

    """
    if team_id is None and user_id is None:
        _ = user_of(caller)
    return (await seen_by(session, caller, user_id, team_id, right=right)).account_id


async def finds_request(session: Session, caller: Caller, request: RequestRow) -> bool:
    """Whether a caller finds a request by its id."""
    if caller.is_of_team:
        return request.key.id == caller.key_id
    if sees_everything(caller) or request.account_id == caller.account_id:
        return True
    standing = await _standing_at(session, caller, request.account_id)
    if standing is None:
        return False
    return standing.may("see_all") or request.user_id == caller.user_id


async def administers(session: Session, caller: Caller, account_id: int | None) -> bool:
    """Whether a caller may change what an account is told; None: what the operator is told."""
    if caller.is_of_team:
        return False
    if sees_everything(caller) or account_id == caller.account_id:
        return True
    standing = None if account_id is None else await _standing_at(session, caller, account_id)
    return standing is not None and standing.may("administer")


async def _standing_at(session: Session, caller: Caller, account_id: int) -> Standing | None:
    """Find what a caller is in a team; None: nothing, or it is no team's account."""
    try:
        return await standing_in(session, caller, account_id)
    except UnknownTeam:
        return None
