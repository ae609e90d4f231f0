"""Who sees the funds of an account, and between which accounts somebody may move credits.

    from                  to                                        who
    the own account       a team that one belongs to, in any role   every user
    a team                the own account of one of its members     its owners and admins
    any account           any other                                 superusers

What somebody has nothing to do with is not found, so that ids reveal nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.people.access import require_manage, sees_everything, user_of
from tokenbalance.people.account_limits import UnknownAccount, get_account
from tokenbalance.people.teams.errors import UnknownTeam
from tokenbalance.people.teams.members import find_member
from tokenbalance.people.teams.standing import standing_in

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.model import Caller
    from tokenbalance.people.access import Standing
    from tokenbalance.people.rows import AccountRow


async def funds_seen_by(session: AsyncSession, caller: Caller, account_id: int) -> AccountRow:
    """Return an account whose funds the caller may see: the own one, or that of an own team.

    Raises:
        UnknownAccount: there is no such account, or not for the caller.

    """
    if account_id != caller.account_id and not sees_everything(caller):
        (await _standing(session, caller, account_id)).require("see")
    return await get_account(session, account_id)


async def require_transfer(
    session: AsyncSession, caller: Caller, from_account_id: int, to_account_id: int
) -> None:
    """Require that the caller may move credits from one account to the other.

    Raises:
        NotAllowed: the caller is a key of a team, or no owner or admin of the team that sends.
        MissingScope: the key may not change anything.
        UnknownAccount: the caller has nothing to do with one of them.

    """
    require_manage(caller)
    if sees_everything(caller):
        return
    _ = user_of(caller)
    if from_account_id == caller.account_id:
        (await _standing(session, caller, to_account_id)).require("see")
        return
    (await _standing(session, caller, from_account_id)).require("administer")
    receiver = await get_account(session, to_account_id)
    if (
        receiver.user_id is None
        or await find_member(session, from_account_id, receiver.user_id) is None
    ):
        raise UnknownAccount(to_account_id)


async def _standing(session: AsyncSession, caller: Caller, account_id: int) -> Standing:
    try:
        return await standing_in(session, caller, account_id)
    except UnknownTeam:
        # It may be a user's, which is not the caller's either.
        raise UnknownAccount(account_id) from None
