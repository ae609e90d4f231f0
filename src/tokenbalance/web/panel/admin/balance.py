"""Forms that change the balance of a user or a team: add, set, overdraft; each with a reason.

What requests in flight hold is not taken. The page then says so, and its ledger how much stayed.
"""

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
from tokenbalance.books.ledger.overdrafts import set_overdraft
from tokenbalance.web.panel.admin.payers import PAYERS, account_of, path_of, payer_page
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.ledger.entries import Entry
    from tokenbalance.web.panel.visit import Visit


SENT_BEFORE: Final = (
    "this form was already submitted with another amount or reason, which was saved; nothing was"
    " saved now. Submit it again to save this as well"
)


async def add_credits(visit: Visit) -> Response:
    """Add credits, or take credits away; a form that is submitted twice counts once."""
    form = visit.form
    amount = form.credits("add-amount")
    note = form.text("add-note", required=True)
    if amount is None:
        form.refuse("add-amount", "enter an amount")
    if amount is None or form.errors:
        return await payer_page(visit, form)
    cause = Cause(visit.actor, note)
    try:
        async with visit.management.sessions.begin() as session:
            account_id = await account_of(session, visit)
            entry = await add_once(session, account_id, amount, cause, form.typed("once"))
    except KeyReused:
        form.refuse("add-amount", SENT_BEFORE)
    except CreditError as error:
        form.refuse("add-note" if isinstance(error, InvalidNote) else "add-amount", str(error))
    else:
        return _done(visit, entry, Notice.CREDITS_ADDED, Notice.CREDITS_KEPT)
    return await payer_page(visit, form)


async def change_balance(visit: Visit) -> Response:
    """Set the balance."""
    form = visit.form
    target = form.credits("set-balance")
    note = form.text("set-note", required=True)
    if target is None:
        form.refuse("set-balance", "enter a balance")
    if target is None or form.errors:
        return await payer_page(visit, form)
    cause = Cause(visit.actor, note)
    try:
        async with visit.management.sessions.begin() as session:
            account_id = await account_of(session, visit)
            entry = await set_balance(session, account_id, target, cause)
    except CreditError as error:
        form.refuse("set-note" if isinstance(error, InvalidNote) else "set-balance", str(error))
        return await payer_page(visit, form)
    return _done(visit, entry, Notice.BALANCE_SET, Notice.BALANCE_KEPT)


async def change_overdraft(visit: Visit) -> Response:
    """Set the overdraft."""
    form = visit.form
    overdraft = form.credits("overdraft")
    note = form.text("overdraft-note", required=True)
    if overdraft is None:
        form.refuse("overdraft", "enter an overdraft")
    if overdraft is None or form.errors:
        return await payer_page(visit, form)
    cause = Cause(visit.actor, note)
    try:
        async with visit.management.sessions.begin() as session:
            account_id = await account_of(session, visit)
            _ = await set_overdraft(session, account_id, overdraft, cause)
    except CreditError as error:
        form.refuse("overdraft-note" if isinstance(error, InvalidNote) else "overdraft", str(error))
        return await payer_page(visit, form)
    return go_to(path_of(visit), visit, Notice.OVERDRAFT_SET)


def _done(visit: Visit, entry: Entry, done: Notice, kept: Notice) -> Response:
    """Lead to the page of the user or team, which says whether all was taken."""
    return go_to(path_of(visit), visit, kept if entry.kept_for_holds else done)


ROUTES: Final = tuple(
    one
    for payer in PAYERS
    for one in (
        route(f"{payer}/credits", post=add_credits),
        route(f"{payer}/balance", post=change_balance),
        route(f"{payer}/overdraft", post=change_overdraft),
    )
)
