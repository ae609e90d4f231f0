"""Forms of the grants and allowances of a user or a team: credits that end, credits each period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from tokenbalance.books.grants.allowances import NewAllowance, create, remove
from tokenbalance.books.grants.issuing import EndInvalid, NewGrant, issue
from tokenbalance.books.ledger.credits import Cause, CreditError, InvalidNote, KeyReused
from tokenbalance.web.panel.admin.balance import SENT_BEFORE
from tokenbalance.web.panel.admin.payers import PAYERS, account_of, path_of, payer_page
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.grants import EVERY
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.grants.calendar import Every
    from tokenbalance.web.panel.visit import Visit


async def make_grant(visit: Visit) -> Response:
    """Grant credits; a form that is submitted twice counts once."""
    form = visit.form
    amount = form.credits("grant-amount")
    end = form.end_of_day("grant-until")
    note = form.text("grant-note", required=True)
    if amount is None:
        form.refuse("grant-amount", "enter an amount")
    if amount is None or form.errors:
        return await payer_page(visit, form)
    new = NewGrant(amount=amount, expires_at=end)
    cause = Cause(visit.actor, note)
    try:
        async with visit.management.sessions.begin() as session:
            account_id = await account_of(session, visit)
            _ = await issue(session, account_id, new, cause, form.typed("once"))
    except KeyReused:
        form.refuse("grant-amount", SENT_BEFORE)
    except CreditError as error:
        form.refuse(_field_of(error, "grant"), str(error))
    else:
        return go_to(path_of(visit), visit, Notice.GRANTED)
    return await payer_page(visit, form)


async def make_allowance(visit: Visit) -> Response:
    """Issue credits each period, from now on."""
    form = visit.form
    amount = form.credits("allowance-amount")
    every = form.one_of("allowance-every", EVERY) or "week"
    rollover = form.credits("allowance-rollover", minimum=0) or 0
    end = form.end_of_day("allowance-until")
    note = form.text("allowance-note")
    if amount is None:
        form.refuse("allowance-amount", "enter an amount")
    if amount is None or form.errors:
        return await payer_page(visit, form)
    new = NewAllowance(
        amount=amount, every=cast("Every", every), rollover_max=rollover, ends_at=end
    )
    try:
        async with visit.management.sessions.begin() as session:
            account_id = await account_of(session, visit)
            _ = await create(session, account_id, new, Cause(visit.actor, note))
    except CreditError as error:
        form.refuse(_field_of(error, "allowance"), str(error))
        return await payer_page(visit, form)
    return go_to(path_of(visit), visit, Notice.ALLOWANCE_MADE)


async def remove_allowance(visit: Visit) -> Response:
    """Remove an allowance."""
    async with visit.management.sessions.begin() as session:
        account_id = await account_of(session, visit)
        number = visit.number("allowance_id")
        _ = await remove(session, account_id, number, Cause(visit.actor))
    return go_to(path_of(visit), visit, Notice.ALLOWANCE_REMOVED)


def _field_of(error: CreditError, form: str) -> str:
    match error:
        case InvalidNote():
            return f"{form}-note"
        case EndInvalid():
            return f"{form}-until"
        case _:
            return f"{form}-amount"


ROUTES: Final = tuple(
    one
    for payer in PAYERS
    for one in (
        route(f"{payer}/grants", post=make_grant),
        route(f"{payer}/allowances", post=make_allowance),
        route(f"{payer}/allowances/{{allowance_id}}/remove", post=remove_allowance),
    )
)
