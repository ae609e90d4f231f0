"""One request: its charge explained, and given back where somebody decides so."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tokenbalance.books.ledger.credits import Cause, CreditError, InvalidNote, refund
from tokenbalance.books.reports import explain
from tokenbalance.database.tables import LedgerEntry
from tokenbalance.web.panel.admin.balance import SENT_BEFORE
from tokenbalance.web.panel.admin.routing import route
from tokenbalance.web.panel.forms import Form
from tokenbalance.web.panel.notices import Notice
from tokenbalance.web.panel.rendering import go_to, render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.books.reports import Explanation
    from tokenbalance.web.panel.visit import Visit

_ONCE_CHARS_MAX: Final = 64


async def show(visit: Visit) -> Response:
    """Explain a charge."""
    return _page(visit, await _explain(visit), Form())


async def give_back(visit: Visit) -> Response:
    """Refund a charge or a part of it; sent twice, the form counts once."""
    form = visit.form
    amount = form.integer("amount", minimum=1)
    note = form.text("note", required=True)
    once = form.text("once", required=True, chars_max=_ONCE_CHARS_MAX)
    explanation = await _explain(visit)
    if form.errors:
        return _page(visit, explanation, form)
    request = explanation.request
    cause = Cause(visit.signed_in.email, note, idempotency_key=once)
    try:
        async with visit.management.sessions.begin() as session:
            _ = await refund(session, request.request_id, amount, cause)
    except (CreditError, IntegrityError) as error:
        # The second time there is less left to give back, or what the form is known by is taken.
        entered = await _entered(visit, request.account_id, once)
        if entered is None:
            if isinstance(error, IntegrityError):
                raise
            form.refuse("note" if isinstance(error, InvalidNote) else "amount", str(error))
        elif amount not in {None, entered.amount} or note != entered.note:
            form.refuse("amount", SENT_BEFORE)
        if form.errors:
            return _page(visit, await _explain(visit), form)
    return go_to(f"/admin/requests/{request.request_id}", visit, Notice.REFUNDED)


def _page(visit: Visit, explanation: Explanation, form: Form) -> Response:
    return render(
        visit,
        "admin/request.html",
        status=HTTPStatus.BAD_REQUEST if form.errors else HTTPStatus.OK,
        explanation=explanation,
        form=form,
        once=secrets.token_urlsafe(16),
    )


async def _explain(visit: Visit) -> Explanation:
    async with visit.management.sessions() as session:
        return await explain(session, visit.parameter("request_id"))


async def _entered(visit: Visit, account_id: int, once: str) -> LedgerEntry | None:
    query = select(LedgerEntry).where(
        LedgerEntry.account_id == account_id, LedgerEntry.idempotency_key == once
    )
    async with visit.management.sessions() as session:
        return await session.scalar(query)


ROUTES: Final = (
    route("/requests/{request_id}", get=show),
    route("/requests/{request_id}/refund", post=give_back),
)
