"""Credits that a superuser gives or takes: the balance set, or added to, each with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.books.ledger.credits import (
    Cause,
    CreditError,
    InvalidNote,
    KeyReused,
    add_once,
    set_balance,
)
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.admin.user import path_of, user_of, user_page
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.visit import Visit


SENT_BEFORE: Final = (
    "this form was sent before, with another amount or reason, and that is entered;"
    " nothing was entered now. Send it again if this is to be entered as well"
)


async def add_credits(visit: Visit) -> Response:
    """Add credits, or take some away; sent twice, the form counts once."""
    form = visit.form
    amount = form.integer("add-amount")
    note = form.text("add-note", required=True)
    if amount is None:
        form.refuse("add-amount", "say how many credits")
    if amount is None or form.errors:
        return await user_page(visit, form)
    cause = Cause(visit.signed_in.email, note)
    try:
        async with visit.management.sessions.begin() as session:
            user = await user_of(session, visit)
            _ = await add_once(session, user.account.id, amount, cause, form.typed("once"))
    except KeyReused:
        form.refuse("add-amount", SENT_BEFORE)
    except CreditError as error:
        form.refuse("add-note" if isinstance(error, InvalidNote) else "add-amount", str(error))
    else:
        return go_to(path_of(visit), visit, Notice.CREDITS_ADDED)
    return await user_page(visit, form)


async def change_balance(visit: Visit) -> Response:
    """Make the balance what it should be."""
    form = visit.form
    target = form.integer("set-balance")
    note = form.text("set-note", required=True)
    if target is None:
        form.refuse("set-balance", "say what the balance should be")
    if target is None or form.errors:
        return await user_page(visit, form)
    cause = Cause(visit.signed_in.email, note)
    try:
        async with visit.management.sessions.begin() as session:
            user = await user_of(session, visit)
            _ = await set_balance(session, user.account.id, target, cause)
    except CreditError as error:
        form.refuse("set-note" if isinstance(error, InvalidNote) else "set-balance", str(error))
        return await user_page(visit, form)
    return go_to(path_of(visit), visit, Notice.BALANCE_SET)


ROUTES: Final = (
    route("/users/{user_id}/credits", post=add_credits),
    route("/users/{user_id}/balance", post=change_balance),
)
