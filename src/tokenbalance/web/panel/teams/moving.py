"""Moving credits: from the visitor's own account to the team, and from the team to a member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.credits import Cause, CreditError, InvalidNote, KeyReused
from tokenbalance.books.ledger.transfers import transfer
from tokenbalance.people.teams.funds import require_transfer
from tokenbalance.people.teams.members import get_member
from tokenbalance.people.users import get_user
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to
from tokenbalance.web.panel.teams.here import find_here, path_of, route
from tokenbalance.web.panel.teams.member import member_page
from tokenbalance.web.panel.teams.overview import team_page

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit

_SENT_BEFORE: Final = (
    "this form was already submitted with another amount or reason, which was saved; nothing was"
    " moved now. Submit it again to move this as well"
)


async def give(visit: Visit) -> Response:
    """Move credits from the visitor's own account to the team."""
    async with visit.management.sessions() as session:
        team_id = (await find_here(session, visit)).team.id
    if await _move(visit, visit.caller.account_id, team_id):
        return go_to(path_of(visit), visit, Notice.CREDITS_MOVED)
    return await team_page(visit, visit.form)


async def hand_out(visit: Visit) -> Response:
    """Move credits from the team to the own account of a member."""
    async with visit.management.sessions() as session:
        team_id = (await find_here(session, visit)).team.id
        member = await get_member(session, team_id, visit.number("user_id"))
        account_id = (await get_user(session, member.user_id)).account.id
    if await _move(visit, team_id, account_id):
        return go_to(f"{path_of(visit)}/members/{member.user_id}", visit, Notice.CREDITS_MOVED)
    return await member_page(visit, visit.form)


async def _move(visit: Visit, from_account_id: int, to_account_id: int) -> bool:
    """Move what the form says; False, and errors in the form, if it is not accepted."""
    form = visit.form
    amount, note = form.credits("move-amount"), form.text("move-note")
    if amount is None:
        form.refuse("move-amount", "enter an amount")
    if amount is None or form.errors:
        return False
    cause = Cause(visit.actor, note)
    try:
        async with visit.management.sessions.begin() as session:
            await require_transfer(session, visit.caller, from_account_id, to_account_id)
            _ = await transfer(
                session, from_account_id, to_account_id, amount, cause, form.typed("once")
            )
    except KeyReused:
        form.refuse("move-amount", _SENT_BEFORE)
    except CreditError as error:
        form.refuse("move-note" if isinstance(error, InvalidNote) else "move-amount", str(error))
    return not form.errors


ROUTES: Final = (
    route("/credits", post=give),
    route("/members/{user_id}/credits", post=hand_out),
)
